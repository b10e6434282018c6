-- include trash
-- Remove jobs of one state created at or before a time, from the given offset on, within a budget.
-- Returns moved, skipped.
local function sweep(base, state, before, offset, budget, act)
  if budget <= 0 then return 0, 0 end
  local found = redis.call('ZRANGE', base .. K[state], offset, offset + budget - 1, 'WITHSCORES')
  local gone = {}
  for i = 1, #found, 2 do
    local created = tonumber(redis.call('HGET', base .. K.record .. found[i], 't'))
    if not created or created <= before then
      gone[#gone + 1] = found[i]; gone[#gone + 1] = found[i + 1]
    end
  end
  discard(base, state, gone, act)
  return #gone / 2, (#found - #gone) / 2
end
