-- include drain
-- resume: the queue gives jobs again.
-- KEYS  1 queue base
-- RETURNS 1, or 0 when it was not paused
drain(KEYS[1])
local was = redis.call('HDEL', KEYS[1] .. K.meta, 'pb', 'pw', 'ps', 'pu')
if was == 0 then return 0 end
redis.call('XADD', KEYS[1] .. K.events, 'MAXLEN', '~', 1000, '*', 'k', 'resumed', 'j', '')
redis.call('ZADD', KEYS[1] .. K.wake, 0, '0')
return 1
