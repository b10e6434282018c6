-- include drain
-- checkpoint: data that survives retries, fenced by the lease.
-- KEYS  1 queue base
-- ARGV  id, token, data
-- RETURNS 0 lost, 1 written
drain(KEYS[1]) -- what runs must come to its end on a full server too
local rec = KEYS[1] .. K.record .. ARGV[1]
if redis.call('HGET', rec, 'tk') ~= ARGV[2] then return 0 end
redis.call('SET', KEYS[1] .. K.checkpoint .. ARGV[1], ARGV[3])
redis.call('HSET', rec, 'c', 1)
return 1
