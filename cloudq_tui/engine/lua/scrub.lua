-- include drain
-- scrub: put another payload in the place of one that held a used secret; the job cannot be retried after that.
-- KEYS  1 queue base
-- ARGV  id, token, message
-- RETURNS 0 lost, 1 written
local rec = KEYS[1] .. K.record .. ARGV[1]
drain(KEYS[1])
if redis.call('HGET', rec, 'tk') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1] .. K.payload .. ARGV[1], ARGV[3])
redis.call('HSET', rec, 'sc', 1)
return 1
