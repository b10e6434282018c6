-- include job
-- Remove jobs of one state created at or before a time, from the given offset on, within a budget.
-- Returns moved, skipped.
local function sweep(base, state, before, offset, budget)
  local moved, skipped = 0, 0
  if budget <= 0 then return moved, skipped end
  for _, id in ipairs(redis.call('ZRANGE', base .. K[state], offset, offset + budget - 1)) do
    local created = tonumber(redis.call('HGET', base .. K.record .. id, 't'))
    if created and created > before then
      skipped = skipped + 1
    else
      redis.call('ZREM', base .. K[state], id)
      drop(base, id)
      moved = moved + 1
    end
  end
  return moved, skipped
end
