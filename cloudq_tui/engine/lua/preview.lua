-- include row
-- preview: how many jobs of some states a bulk verb would touch, and a sample of them. Only finished jobs are kept by
-- age, and so counted by it: of the others the caller looks at the sample.
-- KEYS  1 queue base
-- ARGV  finished before (epoch ms or '' for all), sample size, states...
-- RETURNS per state { state, count, sample rows { name, created, finished, error } }
local base, before, sample = KEYS[1], ARGV[1], tonumber(ARGV[2])
local answer = {}
for i = 3, #ARGV do
  local state = ARGV[i]
  local total, rows = 0, {}
  local finished = state == 'completed' or state == 'failed'
  for _, range in ipairs(ranges(base, state)) do
    local key, high = base .. range[2], range[4]
    if finished and before ~= '' then high = before end
    local size = redis.call('ZCOUNT', key, range[3], high)
    total = total + size
    local function look(ids)
      for _, id in ipairs(ids) do
        local r = redis.call('HMGET', base .. K.record .. id, 'n', 't', 'fo')
        if r[1] then rows[#rows + 1] = { r[1], r[2], r[3], redis.call('GET', base .. K.error .. id) } end
      end
    end
    local half = math.ceil(sample / 2)
    look(redis.call('ZRANGEBYSCORE', key, range[3], high, 'LIMIT', 0, half))
    if size > half then look(redis.call('ZREVRANGEBYSCORE', key, high, range[3], 'LIMIT', 0, math.min(half, size - half))) end
  end
  answer[#answer + 1] = { state, total, rows }
end
return answer
