-- include clock
-- limit: one place in a sliding window shared by all workers, fenced by the lease.
-- KEYS  1 queue base
-- ARGV  id, token, key, count, per ms
-- RETURNS -1 lost, 0 taken, else ms until a place frees
if redis.call('HGET', KEYS[1] .. K.record .. ARGV[1], 'tk') ~= ARGV[2] then return -1 end
local key, now, per = KEYS[1] .. K.limit .. ARGV[3], now_ms(), tonumber(ARGV[5])
redis.call('ZREMRANGEBYSCORE', key, '-inf', now - per)
if redis.call('ZCARD', key) >= tonumber(ARGV[4]) then
  return math.max(1, tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2]) + per - now)
end
redis.call('ZADD', key, now, ARGV[2] .. ':' .. ARGV[1] .. ':' .. redis.call('HINCRBY', KEYS[1] .. K.meta, 'lseq', 1))
redis.call('PEXPIRE', key, per)
return 0
