-- include row
-- include told
-- status: the counts of every queue, nothing else.
-- KEYS  1..n queue bases
-- RETURNS per queue { waiting, active, completed, failed, delayed, paused }, or { what is wrong with its data }
local function counts(base)
  local waiting, delayed, paused = redis.call('ZCARD', base .. K.waiting), redis.call('ZCARD', base .. K.delayed), 0
  if paused_now(base) then
    local due = redis.call('ZCOUNT', base .. K.delayed, '-inf', now_ms())
    waiting, delayed, paused = 0, delayed - due, waiting + due
  end
  return { waiting, redis.call('ZCARD', base .. K.active), redis.call('ZCARD', base .. K.completed),
    redis.call('ZCARD', base .. K.failed), delayed, paused }
end

local answer = {}
for i, base in ipairs(KEYS) do answer[i] = told(counts, base) end
return answer
