-- include claim
-- include add
-- finish: active -> completed / failed / delayed / waiting, by the holder of the lease only; then, by choice, a claim.
-- KEYS  1..n queue bases, n+1 the Huey space base
-- ARGV  n; per base: keep completed ms, keep completed count, keep failed ms;
--       number of finishes; per finish:
--         base index, id, token, outcome (c f r d l), result's share ('' none; else the ms for which Huey's own entry
--         under the id is written with it, 0 for not), result, 1 if more follows or 0; and where more follows:
--         kind, error, detail, delay ms, counted,
--         number of writes, per write: key ('' is the queue's own outbox), 1 set / 0 delete, value, ttl ms
--         number of follow-ups, per follow-up: base index, the twelve of include/add.lua
--         number of chord members, per member: chord, index, size, value, then its callback as a follow-up
--       1 and the arguments of include/claim.lua, or 0
-- RETURNS { { 1 or 0 per finish }, claim result or false }. 0: the lease was lost and nothing was changed.
local CHORD_TTL = 604800000 -- ms; as long as failed jobs stay
local SHORT = 64 -- bytes of a result that the record keeps: a longer field would make a table of it, a key more costs 130

local n = tonumber(ARGV[1])
local space = KEYS[n + 1]
local now = now_ms()
local stamp = string.format('%.0f', now)
local at = 2 + 3 * n
local finishes = tonumber(ARGV[at])
local held, sums, ended, moved, gone = {}, {}, {}, {}, {}
drain(KEYS[1])

local function bucket(ms)
  local i, last = 1, #BOUNDS
  while i <= last and ms > BOUNDS[i] do i = i + 1 end
  return i
end

local function gain(sum, field, value)
  sum[field] = (sum[field] or 0) + value
end

-- What a queue's counters gain, by job name: added up here, written once. Totals and histograms are kept by name;
-- minutes and their slots for the queue.
local function measure(index, name, outcome, record)
  local named = sums[index]
  if not named then named = {}; sums[index] = named end
  local own = named[name]
  if not own then own = { counts = {}, D = {}, W = {} }; named[name] = own end
  local counts = own.counts
  gain(counts, outcome, 1)
  local started, since = tonumber(record[2]), tonumber(record[3])
  if started and outcome ~= 'x' then
    local busy = math.max(0, now - started)
    gain(counts, 'd', busy)
    gain(own.D, bucket(busy), 1)
    if since then
      local wait = math.max(0, started - since)
      gain(counts, 'w', wait)
      gain(own.W, bucket(wait), 1)
    end
  end
end

local function note(base, id, message, detail)
  redis.call('SET', base .. K.error .. id, message)
  if detail ~= '' then
    redis.call('RPUSH', base .. K.attempts .. id, detail)
    redis.call('LTRIM', base .. K.attempts .. id, -50, -1)
  end
end

-- Completed jobs of one queue are moved together: ids that ended, and score and id of those that are kept.
local function moves(index)
  if not moved[index] then moved[index] = { done = {}, kept = {} } end
  return moved[index]
end

local EXCLUDED = { revoked = true, expired = true, cancelled = true }

-- A job may ask for a shorter memory of its queue than the queue's own: 'AGE_S:COUNT', either part empty.
local asked = {}
local function ask_to_keep(index, key, form)
  if not form or form == '0' then return end
  local age, keep = string.match(form, '^(%d*):(%d*)$')
  asked[index] = asked[index] or {}
  asked[index][key] = { age and tonumber(age), keep and tonumber(keep) }
end

local function complete(index, base, id, rec, share, result, record)
  measure(index, record[4], 'c', record)
  local m = moves(index)
  m.done[#m.done + 1] = id
  if share ~= '' and share ~= '0' then
    local key = space .. ':kv:' .. id
    gone[key] = nil
    redis.call('SET', key, result, 'PX', share)
  end
  if record[5] == '0' then
    drop(base, id)
    return
  end
  -- Most completed jobs cost one write to their record: what stays in it is not read in this state.
  if share ~= '' and #result <= SHORT then
    redis.call('HSET', rec, 'fo', stamp, 'tk', '', 's', '', 'o', result)
  else
    redis.call('HSET', rec, 'fo', stamp, 'tk', '', 's', '')
    if share ~= '' then redis.call('SET', base .. K.result .. id, result) end
  end
  if record[6] then redis.call('DEL', base .. K.error .. id) end
  m.kept[#m.kept + 1] = stamp; m.kept[#m.kept + 1] = id
  ended[index] = (ended[index] or 0) + 1
  if record[5] then ask_to_keep(index, K.completed, record[5]) end
end

-- Any other end; `a` is where its kind stands.
local function finish(index, base, id, rec, outcome, a, record)
  local kind, message, detail, delay = ARGV[a], ARGV[a + 1], ARGV[a + 2], tonumber(ARGV[a + 3])
  redis.call('ZREM', base .. K.active, id)
  local more = redis.call('HMGET', rec, 's', 'kf')
  if record[7] then
    -- A cancelled job is not put back. The worker learned that it was cancelled, not by whom.
    if outcome ~= 'f' then outcome, detail = 'f', '' end
    kind, message = 'cancelled', 'cancelled by ' .. record[7]
  end
  if outcome == 'f' then
    measure(index, record[4], EXCLUDED[kind] and 'x' or 'f', record)
    redis.call('HINCRBY', rec, 'a', ARGV[a + 4])
    fail(base, id, now, kind, message, detail)
    ask_to_keep(index, K.failed, more[2])
    ended[index] = (ended[index] or 0) + 1
  else
    redis.call('HDEL', rec, 'tk', 'wk', 'pg', 'sp')
    if outcome == 'r' then
      measure(index, record[4], 'r', record)
      redis.call('HINCRBY', rec, 'a', ARGV[a + 4]) -- where it is none too: `a` says that there is an error to forget
      note(base, id, message, detail)
    elseif message ~= '' then
      redis.call('HSET', rec, 'y', string.sub(message, 1, 60))
    end
    if delay > 0 then
      redis.call('ZADD', base .. K.delayed, now + delay, id)
      event(base, 'delayed', id, message)
    elseif outcome == 'l' and more[1] then
      redis.call('ZADD', base .. K.waiting, more[1], id)
      event(base, 'waiting', id, 'released')
    else
      enqueue(base, id, now)
      event(base, 'waiting', id, message)
    end
  end
  wake(base)
end

-- The end of a finish's arguments, skipped when its lease was lost.
local function consequences(a, alive, base)
  local writes = tonumber(ARGV[a])
  a = a + 1
  for _ = 1, writes do
    if alive then
      local key, ttl = space .. ':kv:' .. ARGV[a], tonumber(ARGV[a + 3])
      if ARGV[a] == '' then
        redis.call('RPUSH', base .. K.outbox, ARGV[a + 2])
      elseif ARGV[a + 1] == '0' then
        gone[key] = true
      else
        gone[key] = nil
        if ttl > 0 then redis.call('SET', key, ARGV[a + 2], 'PX', ttl) else redis.call('SET', key, ARGV[a + 2]) end
      end
    end
    a = a + 4
  end
  local follow_ups = tonumber(ARGV[a])
  a = a + 1
  for _ = 1, follow_ups do
    if alive then add_jobs(KEYS[tonumber(ARGV[a])], a + 1, 1, now) end
    a = a + 13
  end
  local members = tonumber(ARGV[a])
  a = a + 1
  for _ = 1, members do
    if alive then
      local key = space .. ':chord:' .. ARGV[a]
      local new = redis.call('HSETNX', key, ARGV[a + 1], ARGV[a + 3])
      redis.call('PEXPIRE', key, CHORD_TTL)
      if new == 1 and redis.call('HLEN', key) == tonumber(ARGV[a + 2]) then
        add_jobs(KEYS[tonumber(ARGV[a + 4])], a + 5, 1, now)
      end
    end
    a = a + 17
  end
  return a
end

at = at + 1
for f = 1, finishes do
  local index, id, outcome, more = tonumber(ARGV[at]), ARGV[at + 1], ARGV[at + 3], at + 7
  local base = KEYS[index]
  local rec = base .. K.record .. id
  local record = redis.call('HMGET', rec, 'tk', 'po', 'w', 'n', 'kc', 'a', 'cx')
  local alive, next_at = record[1] == ARGV[at + 2], more
  -- What follows a job is added before the job itself may go back to waiting.
  if ARGV[at + 6] == '1' then next_at = consequences(more + 5, alive, base) end
  if alive and outcome == 'c' then
    complete(index, base, id, rec, ARGV[at + 4], ARGV[at + 5], record)
  elseif alive then
    finish(index, base, id, rec, outcome, more, record)
  end
  held[f] = alive and 1 or 0
  at = next_at
end

local deleted = {}
for key in pairs(gone) do deleted[#deleted + 1] = key end
delete(deleted)

for index, m in pairs(moved) do
  local base = KEYS[index]
  redis.call('ZREM', base .. K.active, unpack(m.done))
  if #m.kept > 0 then redis.call('ZADD', base .. K.completed, unpack(m.kept)) end
  event(base, 'completed', table.concat(m.done, ' '))
  if redis.call('ZCARD', base .. K.waiting) > 0 then wake(base) end
end

for index, named in pairs(sums) do
  local base, all = KEYS[index], {}
  for name, own in pairs(named) do
    for field, value in pairs(own.counts) do
      redis.call('HINCRBY', base .. K.totals, name .. '|' .. field, value)
      if field ~= 'w' then gain(all, field, value) end
      if field == 'c' or field == 'f' or field == 'x' then gain(all, 'o', value) end
    end
    for slot, value in pairs(own.D) do redis.call('HINCRBY', base .. K.totals, name .. '|D' .. slot, value) end
    for slot, value in pairs(own.W) do redis.call('HINCRBY', base .. K.totals, name .. '|W' .. slot, value) end
  end
  for field, value in pairs(all) do count(base, now, field, value) end
end

-- Retention, in steps no larger than a few times what this call added.
local function forget(base, key, ids)
  if #ids == 0 then return end
  redis.call('ZREM', base .. key, unpack(ids))
  local all = {}
  for _, id in ipairs(ids) do keys_of(base, id, all) end
  delete(all)
end
local function retain(base, key, age, keep, budget)
  local excess = keep and redis.call('ZCARD', base .. key) - keep or 0
  if excess > 0 then
    forget(base, key, redis.call('ZRANGE', base .. key, 0, math.min(excess, budget) - 1))
  end
  if age then
    forget(base, key, redis.call('ZRANGEBYSCORE', base .. key, '-inf', now - age, 'LIMIT', 0, budget))
  end
end
local function limit_of(arg) -- 0 is none
  local value = tonumber(arg)
  return value > 0 and value or nil
end
for index, n_ended in pairs(ended) do
  local base, a, budget, wish = KEYS[index], 2 + 3 * (index - 1), 2 * n_ended + 8, asked[index] or {}
  retain(base, K.completed, limit_of(ARGV[a]), limit_of(ARGV[a + 1]), budget)
  retain(base, K.failed, limit_of(ARGV[a + 2]), nil, budget)
  for key, form in pairs(wish) do
    retain(base, key, form[1] and form[1] * 1000, form[2], budget)
  end
end

return { held, ARGV[at] == '1' and claim(1, at + 1) }
