-- include job
-- ready: how many jobs a queue has for a claim, and when its next one may be due; takes nothing. Limiter and
-- concurrency are the claim's own affair.
-- KEYS  1 queue base
-- RETURNS { jobs, ms until more may be ready or -1 }
local base, now = KEYS[1], now_ms()
local paused, till = is_paused(base, now)
if paused then return { 0, till and math.max(0, till - now) or -1 } end
local due = redis.call('ZCOUNT', base .. K.delayed, '-inf', now)
local later = redis.call('ZRANGE', base .. K.delayed, due, due, 'WITHSCORES')[2]
return { redis.call('ZCARD', base .. K.waiting) + due, later and math.max(0, tonumber(later) - now) or -1 }
