-- include job
-- Add `n` jobs to one queue, each described by twelve arguments from ARGV[at] on:
--   id, name, message, rank, delay ms, retries, backoff, timeout ms, unique ttl ms, keep completed, keep failed, rerun
-- Returns per job 0 when the id is there already, 1 when added, 2 when it is the queue's first job ever.
-- `rerun` 1: an id whose job has finished is added afresh (Huey enqueues the same task again).
local function add_jobs(base, at, n, now)
  local answers, ready, waiting, delayed = {}, {}, {}, {}
  local sequence = nil
  for i = 1, n do
    local a = at + 12 * (i - 1)
    local id, rank, delay, unique = ARGV[a], tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4]), tonumber(ARGV[a + 8])
    local rec, state = base .. K.record .. id, nil
    local seen = redis.call('HMGET', rec, 'v', 'tr')
    local there = seen[1] and not seen[2]
    -- What lies in the trash under this id makes room: an undo will skip it.
    if seen[2] then drop(base, id) end
    if there and ARGV[a + 11] == '1' then state = state_of(base, id) end
    local again = state == 'completed' or state == 'failed'
    answers[i] = 0
    if (not there or again)
      and (unique == 0 or redis.call('SET', base .. K.unique .. id, 1, 'NX', 'PX', unique)) then
      redis.call('SET', base .. K.payload .. id, ARGV[a + 2])
      if again then
        redis.call('ZREM', base .. K[state], id)
        redis.call('DEL', rec, base .. K.error .. id, base .. K.attempts .. id, base .. K.log .. id,
          base .. K.checkpoint .. id, base .. K.result .. id)
      end
      if not sequence then sequence = redis.call('HINCRBY', base .. K.meta, 'seq', n) - n end
      sequence = sequence + 1
      local fields = { 'v', 1, 'n', ARGV[a + 1], 't', now, 'r', rank }
      local function keep(name, value, blank)
        if value ~= '' and value ~= blank then fields[#fields + 1] = name; fields[#fields + 1] = value end
      end
      keep('R', ARGV[a + 5], '0'); keep('b', ARGV[a + 6], ''); keep('to', ARGV[a + 7], '0')
      keep('kc', ARGV[a + 9], ''); keep('kf', ARGV[a + 10], '')
      if delay > 0 then
        redis.call('ZADD', base .. K.delayed, now + delay, id)
        delayed[#delayed + 1] = id
      else
        local score = rank * SPAN + sequence
        keep('s', score, ''); keep('w', now, '')
        ready[#ready + 1] = score; ready[#ready + 1] = id
        waiting[#waiting + 1] = id
      end
      redis.call('HSET', rec, unpack(fields))
      answers[i] = sequence == 1 and 2 or 1
    end
  end
  if #ready > 0 then
    redis.call('ZADD', base .. K.waiting, unpack(ready))
    event(base, 'waiting', table.concat(waiting, ' '))
    wake(base)
  end
  if #delayed > 0 then
    event(base, 'delayed', table.concat(delayed, ' '))
    -- A delayed job wakes a worker only when it is due before all others: the worker then waits for it.
    local head = redis.call('ZRANGE', base .. K.delayed, 0, 0)[1]
    for _, id in ipairs(delayed) do
      if id == head then wake(base) end
    end
  end
  if #waiting + #delayed > 0 then count(base, now, 'i', #waiting + #delayed) end
  return answers
end
