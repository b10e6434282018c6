-- include job
-- include drain
-- cancel: waiting / delayed -> failed; an active job is told at its next renewal or progress.
-- KEYS  1 queue base
-- ARGV  id, by whom
-- RETURNS 'missing' or the state the job had; 'completed' and 'failed' forbid it
local base, id, now = KEYS[1], ARGV[1], now_ms()
drain(base)
local state, name = state_of(base, id), redis.call('HGET', base .. K.record .. id, 'n')
if not state or not name then return 'missing' end
if state == 'active' then
  redis.call('HSET', base .. K.record .. id, 'cx', ARGV[2])
elseif state == 'waiting' or state == 'delayed' then
  redis.call('ZREM', base .. K[state], id)
  count(base, now, 'x', 1)
  count(base, now, 'o', 1)
  redis.call('HINCRBY', base .. K.totals, name .. '|x', 1)
  fail(base, id, now, 'cancelled', 'cancelled by ' .. ARGV[2], '')
end
return state
