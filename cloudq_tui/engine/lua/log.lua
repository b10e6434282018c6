-- include clock
-- log: one line of a job's own log, fenced by the lease; the last 500 stay.
-- KEYS  1 queue base
-- ARGV  id, token, text
-- RETURNS 0 lost, 1 written
if redis.call('HGET', KEYS[1] .. K.record .. ARGV[1], 'tk') ~= ARGV[2] then return 0 end
local key = KEYS[1] .. K.log .. ARGV[1]
redis.call('RPUSH', key, string.format('%.0f', now_ms()) .. ' ' .. ARGV[3])
redis.call('LTRIM', key, -500, -1)
return 1
