-- include clock
-- include drain
-- lock: a key owned by a lease; it falls with that lease. Who is refused is remembered for the unlock.
-- KEYS  1 queue base
-- ARGV  id, token, key
-- RETURNS -1 lease lost, 0 owned by another live job, 1 owned now
local base = KEYS[1]
drain(base) -- what runs must come to its end on a full server too
if redis.call('HGET', base .. K.record .. ARGV[1], 'tk') ~= ARGV[2] then return -1 end
local key, refused = base .. K.lock .. ARGV[3], base .. K.refused .. ARGV[3]
local owner = redis.call('HMGET', key, 'id', 'tk')
if owner[1] and not (owner[1] == ARGV[1] and owner[2] == ARGV[2]) then
  local ends = redis.call('ZSCORE', base .. K.active, owner[1])
  if redis.call('HGET', base .. K.record .. owner[1], 'tk') == owner[2] and ends and tonumber(ends) > now_ms() then
    redis.call('SADD', refused, ARGV[1])
    redis.call('PEXPIRE', refused, 3600000)
    return 0
  end
end
redis.call('HSET', key, 'id', ARGV[1], 'tk', ARGV[2])
redis.call('SREM', refused, ARGV[1])
return 1
