-- For tests: the server's clock plus the milliseconds in the key '{clock}:offset'.
local function now_ms()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000) + tonumber(redis.call('GET', '{clock}:offset') or 0)
end
