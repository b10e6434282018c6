-- include job
-- Add `n` jobs to one queue, each described by twelve arguments from ARGV[at] on:
--   id, name, message, rank, delay ms, retries, backoff, timeout ms, unique ttl ms, keep completed, keep failed, rerun
-- Returns per job 0 when the id is there already, 1 when added, 2 when it is the queue's first job ever.
-- `rerun` 1: an id whose job has finished is added afresh (Huey enqueues the same task again).
local function add_jobs(base, at, n, now)
  local answers, ready, waiting, delayed, records, payloads, added = {}, {}, {}, {}, {}, {}, {}
  local sequence, stamp = nil, string.format('%.0f', now)
  for i = 1, n do records[i] = base .. K.record .. ARGV[at + 12 * (i - 1)] end
  -- One question for all: mostly none of the ids is known.
  local some = redis.call('EXISTS', unpack(records)) > 0
  for i = 1, n do
    local a, rec = at + 12 * (i - 1), records[i]
    local id, rank, delay, unique = ARGV[a], ARGV[a + 3], tonumber(ARGV[a + 4]), ARGV[a + 8]
    local there, trashed, again, place = false, false, false, nil
    if some or added[id] then
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
      added[id] = true
      payloads[#payloads + 1] = base .. K.payload .. id; payloads[#payloads + 1] = ARGV[a + 2]
      local f, fields = 8, { 'v', '1', 'n', ARGV[a + 1], 't', stamp, 'r', rank }
      if delay > 0 then
        redis.call('ZADD', base .. K.delayed, now + delay, id)
        delayed[#delayed + 1] = id
      else
        local score = rank * SPAN + sequence
        fields[9], fields[10], fields[11], fields[12], f = 's', score, 'w', stamp, 12
        ready[#ready + 1] = score; ready[#ready + 1] = id
        waiting[#waiting + 1] = id
      end
      if ARGV[a + 5] ~= '0' then fields[f + 1], fields[f + 2], f = 'R', ARGV[a + 5], f + 2 end
      if ARGV[a + 6] ~= '' then fields[f + 1], fields[f + 2], f = 'b', ARGV[a + 6], f + 2 end
      if ARGV[a + 7] ~= '0' then fields[f + 1], fields[f + 2], f = 'to', ARGV[a + 7], f + 2 end
      if ARGV[a + 9] ~= '' then fields[f + 1], fields[f + 2], f = 'kc', ARGV[a + 9], f + 2 end
      if ARGV[a + 10] ~= '' then fields[f + 1], fields[f + 2], f = 'kf', ARGV[a + 10], f + 2 end
      redis.call('HSET', rec, unpack(fields))
      answers[i] = sequence == 1 and 2 or 1
    end
  end
  if #payloads > 0 then redis.call('MSET', unpack(payloads)) end
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
