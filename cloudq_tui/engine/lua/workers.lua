-- include clock
-- workers: the presence of every live worker.
-- KEYS  1 shared base
-- RETURNS { presence JSON, presence ends, ... }
local rows = {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1] .. ':workers', now_ms(), '+inf', 'LIMIT', 0, 500)) do
  local text = redis.call('GET', KEYS[1] .. ':worker:' .. id)
  if text then rows[#rows + 1] = text; rows[#rows + 1] = redis.call('ZSCORE', KEYS[1] .. ':workers', id) end
end
return rows
