-- include row
-- calls: the stored calls of one state, with their messages; for Huey's pending() and scheduled().
-- KEYS  1 queue base
-- ARGV  state (waiting or delayed), limit
-- RETURNS { row of include/row.lua, message } per job
local base, state, calls = KEYS[1], ARGV[1], {}
local found = redis.call('ZRANGE', base .. K[state], 0, tonumber(ARGV[2]) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  local one = row(base, state, found[i], found[i + 1])
  if one then calls[#calls + 1] = { one, redis.call('GET', base .. K.payload .. found[i]) } end
end
return calls
