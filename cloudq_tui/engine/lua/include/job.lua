-- include clock
-- What every transition shares: places, events, counters, and the end of a record.
local SPAN = 4398046511104 -- 2^42 sequences within one rank

local function place(base, rank)
  return rank * SPAN + redis.call('HINCRBY', base .. K.meta, 'seq', 1)
end

-- One entry for all the jobs a call moved in the same way; ids are separated by spaces.
local function event(base, kind, ids, detail)
  if detail and detail ~= '' then
    redis.call('XADD', base .. K.events, 'MAXLEN', '~', 1000, '*', 'k', kind, 'j', ids, 'd', detail)
  else
    redis.call('XADD', base .. K.events, 'MAXLEN', '~', 1000, '*', 'k', kind, 'j', ids)
  end
end

-- Add to a counter of the current minute: c completed, f failed, x excluded, r retried, d busy ms; and, by the
-- 5 s slot of the minute (0 to 11), i in and o out.
local function count(base, now, field, n)
  local minute = base .. K.minute .. math.floor(now / 60000)
  if field == 'i' or field == 'o' then field = field .. math.floor(now % 60000 / 5000) end
  if redis.call('HINCRBY', minute, field, n) == n then redis.call('EXPIRE', minute, 90000) end
end

local function wake(base)
  redis.call('ZADD', base .. K.wake, 0, '0')
end

-- Every key that an id may have, appended to a list.
local function keys_of(base, id, all)
  local n = #all
  all[n + 1] = base .. K.record .. id
  all[n + 2] = base .. K.payload .. id
  all[n + 3] = base .. K.result .. id
  all[n + 4] = base .. K.error .. id
  all[n + 5] = base .. K.attempts .. id
  all[n + 6] = base .. K.log .. id
  all[n + 7] = base .. K.checkpoint .. id
  return all
end

-- In slices that the Lua stack can hold.
local function delete(all)
  for i = 1, #all, 1000 do redis.call('DEL', unpack(all, i, math.min(i + 999, #all))) end
end

-- Forget everything kept for an id but its place in a state (the caller has removed that).
local function drop(base, id)
  delete(keys_of(base, id, {}))
end

-- The state an id is in, its score there, and that state's key suffix; nil when it is in none.
local function state_of(base, id)
  local states = { 'waiting', K.waiting, 'active', K.active, 'delayed', K.delayed, 'failed', K.failed,
    'completed', K.completed }
  for i = 1, #states, 2 do
    local score = redis.call('ZSCORE', base .. states[i + 1], id)
    if score then return states[i], score, states[i + 1] end
  end
end

-- Put an id at the end of its priority.
local function enqueue(base, id, now)
  local rec = base .. K.record .. id
  local score = place(base, tonumber(redis.call('HGET', rec, 'r')) or 5)
  redis.call('ZADD', base .. K.waiting, score, id)
  redis.call('HSET', rec, 's', score, 'w', now)
end

local function is_paused(base, now)
  local pause = redis.call('HMGET', base .. K.meta, 'pb', 'pu')
  if not pause[1] then return false end
  local till = tonumber(pause[2])
  if till and till <= now then
    redis.call('HDEL', base .. K.meta, 'pb', 'pw', 'ps', 'pu')
    return false
  end
  return true, till
end

-- End a job for good as failed. kind as FailureKind; detail is an encoded Attempt or ''.
local function fail(base, id, now, kind, message, detail)
  local rec = base .. K.record .. id
  redis.call('HDEL', rec, 'tk', 'wk', 'cx', 's', 'w', 'y')
  if redis.call('HGET', rec, 'kf') == '0' then
    drop(base, id)
  else
    redis.call('HSET', rec, 'fo', now, 'k', kind)
    redis.call('SET', base .. K.error .. id, message)
    if detail ~= '' then
      redis.call('RPUSH', base .. K.attempts .. id, detail)
      redis.call('LTRIM', base .. K.attempts .. id, -50, -1)
    end
    redis.call('ZADD', base .. K.failed, now, id)
  end
  event(base, 'failed', id, kind)
end
