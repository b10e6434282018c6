-- For tests: time stands still at the milliseconds in the key '{clock}:now' until the test moves it.
local function now_ms()
  return tonumber(redis.call('GET', '{clock}:now') or 1800000000000)
end
