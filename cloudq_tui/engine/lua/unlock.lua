-- include drain
-- unlock: by the owner only.
-- KEYS  1 queue base
-- ARGV  id, token, key
-- RETURNS 1 freed, 0 it was not the caller's
drain(KEYS[1])
local key = KEYS[1] .. K.lock .. ARGV[3]
local owner = redis.call('HMGET', key, 'id', 'tk')
if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2] then return 0 end
return redis.call('DEL', key)
