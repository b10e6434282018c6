-- include job
-- include drain
-- unlock: by the owner only; jobs that were refused the lock and put off since then wait again at once.
-- KEYS  1 queue base
-- ARGV  id, token, key
-- RETURNS 1 freed, 0 it was not the caller's
local base = KEYS[1]
drain(base)
local key = base .. K.lock .. ARGV[3]
local owner = redis.call('HMGET', key, 'id', 'tk')
if owner[1] ~= ARGV[1] or owner[2] ~= ARGV[2] then return 0 end
redis.call('DEL', key)
local now, woken = now_ms(), false
for _, id in ipairs(redis.call('SPOP', base .. K.refused .. ARGV[3], 100)) do
  if redis.call('ZREM', base .. K.delayed, id) == 1 then
    enqueue(base, id, now)
    event(base, 'waiting', id, 'lock released')
    woken = true
  end
end
if woken then wake(base) end
return 1
