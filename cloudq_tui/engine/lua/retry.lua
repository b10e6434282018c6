-- include retry
-- include drain
-- retry: failed / completed -> waiting.
-- KEYS  1 queue base
-- ARGV  id
-- RETURNS 'ok', 'missing', 'scrubbed' where the payload's secret is gone, or the state that forbids it
drain(KEYS[1])
local state = state_of(KEYS[1], ARGV[1])
if not state then return 'missing' end
if state ~= 'failed' and state ~= 'completed' then return state end
local record = redis.call('HMGET', KEYS[1] .. K.record .. ARGV[1], unpack(FINISHED))
if record[2] then return 'scrubbed' end
retry(KEYS[1], { ARGV[1] }, { record }, state, now_ms(), '')
return 'ok'
