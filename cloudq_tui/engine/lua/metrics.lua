-- include clock
-- metrics: what a queue did, by job name since ever and by minute over 24 h.
-- KEYS  1 queue base
-- RETURNS { now, { field of the totals, value, ... }, { minute since the epoch, c, f, x, r, d, ... } } with the minutes
--   in which a run ended, oldest first
local base, now, minutes = KEYS[1], now_ms(), {}
local current = math.floor(now / 60000)
for minute = current - 1439, current do
  local v = redis.call('HMGET', base .. K.minute .. minute, 'c', 'f', 'x', 'r', 'd')
  if v[1] or v[2] or v[3] or v[4] then
    local n = #minutes
    minutes[n + 1] = minute
    for i = 1, 5 do minutes[n + 1 + i] = tonumber(v[i] or 0) end
  end
end
return { now, redis.call('HGETALL', base .. K.totals), minutes }
