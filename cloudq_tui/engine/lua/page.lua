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
    -- By rank, not by score with a LIMIT, which walks through all that it skips.
    local first = range[3] == '-inf' and 0 or redis.call('ZCARD', key) - size
    local last = math.min(from + count, size) - 1
    local found = redis.call(newest_first and 'ZREVRANGE' or 'ZRANGE', key, first + from, first + last, 'WITHSCORES')
    for i = 1, #found, 2 do
      rows[#rows + 1] = row(base, state == 'paused' and 'paused' or range[1], found[i], found[i + 1])
    end
  end
  passed = passed + size
end
return rows
