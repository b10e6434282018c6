-- include claim
-- include add
-- finish: active -> completed / failed / delayed / waiting, by the holder of the lease only; then, by choice, a claim.
-- KEYS  1..n queue bases, n+1 the Huey space base
-- ARGV  n; per base: keep completed ms, keep completed count, keep failed ms;
--       number of finishes; per finish:
--         base index, id, token, outcome (c f r d l), kind, error, detail, has result, result, delay ms, counted,
--         number of writes, per write: key ('' is the queue's own outbox), 1 set / 0 delete, value, ttl ms
--         number of follow-ups, per follow-up: base index, the twelve of include/add.lua
--         number of chord members, per member: chord, index, size, value, then its callback as a follow-up
--       1 and the arguments of include/claim.lua, or 0
-- RETURNS { { 1 or 0 per finish }, claim result or false }. 0: the lease was lost and nothing was changed.
local BOUNDS = { 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 600000 }
local CHORD_TTL = 604800000 -- ms; as long as failed jobs stay

local n = tonumber(ARGV[1])
local space = KEYS[n + 1]
local now = now_ms()
local at = 2 + 3 * n
local finishes = tonumber(ARGV[at])
local held, sums, ended, moved, results, gone = {}, {}, {}, {}, {}, {}
drain(KEYS[1])

local function bucket(ms)
  for i, bound in ipairs(BOUNDS) do
    if ms <= bound then return i end
  end
  return #BOUNDS + 1
end

-- What a queue's counters gain: `all` under the queue's own, `named` under each job name's. Added up here, written once.
local function sum_of(index)
  local sum = sums[index]
  if not sum then sum = { all = {}, named = {} }; sums[index] = sum end
  return sum
end

local function gain(sum, field, value)
  sum[field] = (sum[field] or 0) + value
end

-- Totals and histograms by job name; slots and minutes by queue.
local function measure(index, name, outcome, record)
  local sum = sum_of(index)
  local all, own = sum.all, sum.named[name]
  if not own then own = { counts = {}, D = {}, W = {} }; sum.named[name] = own end
  gain(all, outcome, 1)
  gain(own.counts, outcome, 1)
  if outcome ~= 'r' then gain(all, 'o', 1) end
  local started, since = tonumber(record[2]), tonumber(record[3])
  if started and outcome ~= 'x' then
    local busy = math.max(0, now - started)
    gain(all, 'd', busy)
    gain(own.counts, 'd', busy)
    gain(own.D, bucket(busy), 1)
    if since then
      local wait = math.max(0, started - since)
      gain(own.counts, 'w', wait)
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

-- The record of a finish's job; nil when the caller does not hold its lease.
local function held_record(a)
  local record = redis.call('HMGET', KEYS[tonumber(ARGV[a])] .. K.record .. ARGV[a + 1],
    'tk', 'po', 'w', 'n', 'kc', 'a', 'cx')
  return record[1] == ARGV[a + 2] and record or nil
end

-- A job may ask for a shorter memory of its queue than the queue's own: 'AGE_S:COUNT', either part empty.
local asked = {}
local function ask_to_keep(index, state, form)
  if not form or form == '0' then return end
  local age, keep = string.match(form, '^(%d*):(%d*)$')
  asked[index] = asked[index] or {}
  asked[index][state] = { age and tonumber(age), keep and tonumber(keep) }
end

local function finish(a, record)
  local index, id, outcome, kind, message, detail = tonumber(ARGV[a]), ARGV[a + 1], ARGV[a + 3], ARGV[a + 4], ARGV[a + 5], ARGV[a + 6]
  local base, delay = KEYS[index], tonumber(ARGV[a + 9])
  local rec = base .. K.record .. id
  if outcome == 'c' then
    measure(index, record[4], 'c', record)
    local m = moves(index)
    m.done[#m.done + 1] = id
    if record[5] == '0' then
      drop(base, id)
    else
      -- Most completed jobs cost one write to their record: what stays in it is not read in this state.
      redis.call('HSET', rec, 'fo', now, 'tk', '', 's', '')
      if record[6] then redis.call('DEL', base .. K.error .. id) end
      if ARGV[a + 7] == '1' then results[#results + 1] = base .. K.result .. id; results[#results + 1] = ARGV[a + 8] end
      m.kept[#m.kept + 1] = now; m.kept[#m.kept + 1] = id
      ended[index] = (ended[index] or 0) + 1
      ask_to_keep(index, 'completed', record[5])
    end
    return
  end
  redis.call('ZREM', base .. K.active, id)
  local more = redis.call('HMGET', rec, 's', 'kf')
  if record[7] then
    -- A cancelled job is not put back. The worker learned that it was cancelled, not by whom.
    if outcome ~= 'f' then outcome, detail = 'f', '' end
    kind, message = 'cancelled', 'cancelled by ' .. record[7]
  end
  if outcome == 'f' then
    measure(index, record[4], EXCLUDED[kind] and 'x' or 'f', record)
    if ARGV[a + 10] == '1' then redis.call('HINCRBY', rec, 'a', 1) end
    fail(base, id, now, kind, message, detail)
    ask_to_keep(index, 'failed', more[2])
    ended[index] = (ended[index] or 0) + 1
  else
    redis.call('HDEL', rec, 'tk', 'wk', 'pg', 'sp')
    if outcome == 'r' then
      measure(index, record[4], 'r', record)
      if ARGV[a + 10] == '1' then redis.call('HINCRBY', rec, 'a', 1) end
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
  local record = held_record(at)
  -- What follows a job is added before the job itself may go back to waiting.
  local next_at = consequences(at + 11, record ~= nil, KEYS[tonumber(ARGV[at])])
  if record then finish(at, record) end
  held[f] = record and 1 or 0
  at = next_at
end

if #results > 0 then redis.call('MSET', unpack(results)) end
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

for index, sum in pairs(sums) do
  local base = KEYS[index]
  for field, value in pairs(sum.all) do count(base, now, field, value) end
  for name, own in pairs(sum.named) do
    for field, value in pairs(own.counts) do redis.call('HINCRBY', base .. K.totals, name .. '|' .. field, value) end
    for slot, value in pairs(own.D) do redis.call('HINCRBY', base .. K.totals, name .. '|D' .. slot, value) end
    for slot, value in pairs(own.W) do redis.call('HINCRBY', base .. K.totals, name .. '|W' .. slot, value) end
  end
end

-- Retention, in steps no larger than a few times what this call added.
local function forget(base, key, ids)
  if #ids == 0 then return end
  redis.call('ZREM', base .. key, unpack(ids))
  local all = {}
  for _, id in ipairs(ids) do keys_of(base, id, all) end
  delete(all)
end
local function retain(base, state, age, keep, budget)
  local excess = keep and redis.call('ZCARD', base .. K[state]) - keep or 0
  if excess > 0 then
    forget(base, K[state], redis.call('ZRANGE', base .. K[state], 0, math.min(excess, budget) - 1))
  end
  if age then
    forget(base, K[state], redis.call('ZRANGEBYSCORE', base .. K[state], '-inf', now - age, 'LIMIT', 0, budget))
  end
end
local function limit_of(arg) -- 0 is none
  local value = tonumber(arg)
  return value > 0 and value or nil
end
for index, n_ended in pairs(ended) do
  local base, a, budget, wish = KEYS[index], 2 + 3 * (index - 1), 2 * n_ended + 8, asked[index] or {}
  retain(base, 'completed', limit_of(ARGV[a]), limit_of(ARGV[a + 1]), budget)
  retain(base, 'failed', limit_of(ARGV[a + 2]), nil, budget)
  for state, form in pairs(wish) do
    retain(base, state, form[1] and form[1] * 1000, form[2], budget)
  end
end

return { held, ARGV[at] == '1' and claim(1, at + 1) }
