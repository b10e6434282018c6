-- include row
-- page: list rows of one state, both ends included, without payloads.
-- KEYS  1 queue base
-- ARGV  state, start, end
-- RETURNS rows of include/row.lua
local base, state, start, stop = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local rows, passed = {}, 0
local newest_first = state == 'completed' or state == 'failed'
for _, range in ipairs(ranges(base, state)) do
  local key = base .. range[2]
  local size = redis.call('ZCOUNT', key, range[3], range[4])
  local from, count = math.max(0, start - passed), stop - math.max(start, passed) + 1
  if from < size and count > 0 then
    local found
    if newest_first then
      found = redis.call('ZREVRANGEBYSCORE', key, range[4], range[3], 'WITHSCORES', 'LIMIT', from, count)
    else
      found = redis.call('ZRANGEBYSCORE', key, range[3], range[4], 'WITHSCORES', 'LIMIT', from, count)
    end
    for i = 1, #found, 2 do
      rows[#rows + 1] = row(base, state == 'paused' and 'paused' or range[1], found[i], found[i + 1])
    end
  end
  passed = passed + size
end
return rows
