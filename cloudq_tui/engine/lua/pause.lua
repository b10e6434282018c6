-- include clock
-- include drain
-- pause: the queue gives no more jobs, until resumed or until a time; what is active goes on.
-- KEYS  1 queue base
-- ARGV  by, why, until (epoch ms or ''), duration (ms or '')
-- RETURNS 1
local now = now_ms()
drain(KEYS[1])
local till = ARGV[3]
if ARGV[4] ~= '' then till = string.format('%.0f', now + tonumber(ARGV[4])) end
redis.call('HSET', KEYS[1] .. K.meta, 'pb', ARGV[1], 'pw', ARGV[2], 'ps', now)
if till ~= '' then redis.call('HSET', KEYS[1] .. K.meta, 'pu', till) else redis.call('HDEL', KEYS[1] .. K.meta, 'pu') end
redis.call('XADD', KEYS[1] .. K.events, 'MAXLEN', '~', 1000, '*', 'k', 'paused', 'j', '', 'd', ARGV[1])
-- Whoever waits learns when an expiring pause ends.
redis.call('ZADD', KEYS[1] .. K.wake, 0, '0')
return 1
