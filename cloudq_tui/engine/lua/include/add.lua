-- include job
-- Add the job described by twelve arguments from ARGV[at] on:
--   id, name, message, rank, delay ms, retries, backoff, timeout ms, unique ttl ms, keep completed, keep failed, rerun
-- Returns 0 when the id is there already, 1 when added, 2 when it is the queue's first job ever.
-- `rerun` 1: an id whose job has finished is added afresh (Huey enqueues the same task again).
local function add_job(base, at, now)
  local id, rank, delay = ARGV[at], tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local rec = base .. K.record .. id
  local again = redis.call('EXISTS', rec) == 1
  if again then
    if ARGV[at + 11] ~= '1' then return 0 end
    local state = state_of(base, id)
    if state ~= 'completed' and state ~= 'failed' then return 0 end
  end
  local unique = tonumber(ARGV[at + 8])
  if unique > 0 and not redis.call('SET', base .. K.unique .. id, 1, 'NX', 'PX', unique) then return 0 end
  redis.call('SET', base .. K.payload .. id, ARGV[at + 2])
  if again then
    redis.call('ZREM', base .. K.completed, id)
    redis.call('ZREM', base .. K.failed, id)
    redis.call('DEL', rec, base .. K.error .. id, base .. K.attempts .. id, base .. K.log .. id,
      base .. K.checkpoint .. id, base .. K.result .. id)
  end
  local score = place(base, rank)
  local fields = { 'v', 1, 'n', ARGV[at + 1], 't', now, 'r', rank }
  local function keep(name, value)
    if value ~= '' and value ~= '0' then fields[#fields + 1] = name; fields[#fields + 1] = value end
  end
  keep('R', ARGV[at + 5]); keep('b', ARGV[at + 6]); keep('to', ARGV[at + 7])
  if ARGV[at + 9] ~= '' then fields[#fields + 1] = 'kc'; fields[#fields + 1] = ARGV[at + 9] end
  if ARGV[at + 10] ~= '' then fields[#fields + 1] = 'kf'; fields[#fields + 1] = ARGV[at + 10] end
  if delay > 0 then
    redis.call('ZADD', base .. K.delayed, now + delay, id)
  else
    fields[#fields + 1] = 's'; fields[#fields + 1] = score
    fields[#fields + 1] = 'w'; fields[#fields + 1] = now
    redis.call('ZADD', base .. K.waiting, score, id)
  end
  redis.call('HSET', rec, unpack(fields))
  count(base, now, 'i', 1)
  event(base, delay > 0 and 'delayed' or 'waiting', id)
  -- A delayed job wakes a worker only when it is due before all others: the worker then waits for it.
  if delay <= 0 or redis.call('ZRANGE', base .. K.delayed, 0, 0)[1] == id then wake(base) end
  return score % SPAN == 1 and 2 or 1
end
