-- progress: fenced by the lease.
-- KEYS  1 queue base
-- ARGV  id, token, percent, step
-- RETURNS 0 lost, 1 written, 2 written and cancelled by a person
local rec = KEYS[1] .. K.record .. ARGV[1]
local record = redis.call('HMGET', rec, 'tk', 'cx')
if record[1] ~= ARGV[2] then return 0 end
redis.call('HSET', rec, 'pg', ARGV[3], 'sp', ARGV[4])
return record[2] and 2 or 1
