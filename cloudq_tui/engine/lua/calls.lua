-- include row
-- calls: stored calls of one state, with their messages, in order; for Huey's pending() and scheduled().
-- KEYS  1 queue base
-- ARGV  state (waiting or delayed), start, end (both included)
-- RETURNS per job { row of include/row.lua, message }, false where the record is gone
local base, state, calls = KEYS[1], ARGV[1], {}
local found = redis.call('ZRANGE', base .. K[state], ARGV[2], ARGV[3], 'WITHSCORES')
for i = 1, #found, 2 do
  local one = row(base, state, found[i], found[i + 1])
  calls[#calls + 1] = one and { one, redis.call('GET', base .. K.payload .. found[i]) }
end
return calls
