-- include trash
-- Remove jobs of one state created at or before a time, from the given offset on, within a budget.
-- Returns moved, skipped.
local function sweep(base, state, before, offset, budget, act)
  local moved, skipped = 0, 0
  if budget <= 0 then return moved, skipped end
  local found = redis.call('ZRANGE', base .. K[state], offset, offset + budget - 1, 'WITHSCORES')
  for i = 1, #found, 2 do
    local id = found[i]
    local created = tonumber(redis.call('HGET', base .. K.record .. id, 't'))
    if created and created > before then
      skipped = skipped + 1
    else
      redis.call('ZREM', base .. K[state], id)
      discard(base, id, state, found[i + 1], act)
      moved = moved + 1
    end
  end
  close_act(base, act)
  return moved, skipped
end
