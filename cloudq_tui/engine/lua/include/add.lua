-- include job
-- Add `n` jobs to one queue, each described by twelve arguments from ARGV[at] on:
--   id, name, message, rank, delay ms, retries, backoff, timeout ms, unique ttl ms, keep completed, keep failed, rerun
-- Returns per job 0 when the id is there already, 1 when added, 2 when it is the queue's first job ever.
-- `rerun` 1: an id whose job has finished is added afresh (Huey enqueues the same task again).
-- One job after the other: a command costs less than to gather its arguments in tables.
local function add_jobs(base, at, n, now)
  local answers, waiting, delayed = {}, {}, {}
  local sequence, stamp = nil, string.format('%.0f', now)
  for i = 1, n do
    local a = at + 12 * (i - 1)
    local id, rank, delay, unique = ARGV[a], ARGV[a + 3], tonumber(ARGV[a + 4]), ARGV[a + 8]
    local rec = base .. K.record .. id
    local there, trashed, again, place = false, false, false, nil
    if redis.call('EXISTS', rec) == 1 then
      local seen = redis.call('HMGET', rec, 'v', 'tr')
      there, trashed = seen[1] and not seen[2], seen[2]
      if there and ARGV[a + 11] == '1' then
        local state, _, key = state_of(base, id)
        again, place = state == 'completed' or state == 'failed', key
      end
    end
    answers[i] = 0
    if (not there or again)
      and (unique == '0' or redis.call('SET', base .. K.unique .. id, 1, 'NX', 'PX', unique)) then
      if not sequence then sequence = redis.call('HINCRBY', base .. K.meta, 'seq', n) - n end
      if again then redis.call('ZREM', base .. place, id) end
      -- What lies in the trash under this id makes room: an undo will skip it.
      if again or trashed then drop(base, id) end
      sequence = sequence + 1
      redis.call('SET', base .. K.payload .. id, ARGV[a + 2])
      if delay > 0 then
        redis.call('HSET', rec, 'v', '1', 'n', ARGV[a + 1], 't', stamp, 'r', rank)
        redis.call('ZADD', base .. K.delayed, now + delay, id)
        delayed[#delayed + 1] = id
      else
        local score = string.format('%.0f', rank * SPAN + sequence)
        redis.call('HSET', rec, 'v', '1', 'n', ARGV[a + 1], 't', stamp, 'r', rank, 's', score, 'w', stamp)
        redis.call('ZADD', base .. K.waiting, score, id)
        waiting[#waiting + 1] = id
      end
      if ARGV[a + 5] ~= '0' then redis.call('HSET', rec, 'R', ARGV[a + 5]) end
      if ARGV[a + 6] ~= '' then redis.call('HSET', rec, 'b', ARGV[a + 6]) end
      if ARGV[a + 7] ~= '0' then redis.call('HSET', rec, 'to', ARGV[a + 7]) end
      if ARGV[a + 9] ~= '' then redis.call('HSET', rec, 'kc', ARGV[a + 9]) end
      if ARGV[a + 10] ~= '' then redis.call('HSET', rec, 'kf', ARGV[a + 10]) end
      answers[i] = sequence == 1 and 2 or 1
    end
  end
  if #waiting > 0 then
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
