-- include job
-- include drain
-- promote: delayed -> waiting now; with a delay, delayed -> delayed until then (reschedule).
-- KEYS  1 queue base
-- ARGV  id, delay ms (0 promotes)
-- RETURNS 'ok', 'missing', or the state that forbids it
local base, id, delay, now = KEYS[1], ARGV[1], tonumber(ARGV[2]), now_ms()
drain(base)
local state = state_of(base, id)
if not state then return 'missing' end
if state ~= 'delayed' then return state end
if delay > 0 then
  redis.call('ZADD', base .. K.delayed, now + delay, id)
  event(base, 'delayed', id, 'rescheduled')
else
  redis.call('ZREM', base .. K.delayed, id)
  redis.call('HDEL', base .. K.record .. id, 'y')
  enqueue(base, id, now)
  event(base, 'waiting', id, 'promoted')
end
wake(base)
return 'ok'
