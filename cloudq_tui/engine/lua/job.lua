-- include row
-- job: one job whole; its payload and result are cut at a size.
-- KEYS  1 queue base
-- ARGV  id, payload limit in bytes
-- RETURNS false, or { row, payload, payload size, result, result size, attempts, log lines, checkpoint,
--                     cancelled by, keep completed, keep failed }
local base, id, limit = KEYS[1], ARGV[1], tonumber(ARGV[2])
for _, state in ipairs({ 'waiting', 'active', 'delayed', 'failed', 'completed' }) do
  local score = redis.call('ZSCORE', base .. K[state], id)
  if score then
    local shown = state
    if (state == 'waiting' or (state == 'delayed' and tonumber(score) <= now_ms())) and paused_now(base) then
      shown = 'paused'
    end
    local one = row(base, shown, id, score)
    if not one then return false end
    local more = redis.call('HMGET', base .. K.record .. id, 'cx', 'kc', 'kf', 'o')
    local short = more[4]
    return { one,
      redis.call('GETRANGE', base .. K.payload .. id, 0, limit - 1), redis.call('STRLEN', base .. K.payload .. id),
      short and string.sub(short, 1, limit) or redis.call('GETRANGE', base .. K.result .. id, 0, limit - 1),
      short and #short or redis.call('STRLEN', base .. K.result .. id),
      redis.call('LRANGE', base .. K.attempts .. id, 0, -1), redis.call('LRANGE', base .. K.log .. id, 0, -1),
      redis.call('GETRANGE', base .. K.checkpoint .. id, 0, limit - 1), more[1], more[2], more[3] }
  end
end
return false
