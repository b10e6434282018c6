-- include retry
-- include drain
-- retry_all: one bounded step of failed / completed -> waiting for what finished before the cutoff.
-- KEYS  1 queue base
-- ARGV  state, cutoff ms, job name or '', part of the error line or '', offset, budget, act ('' for no undo)
-- RETURNS { moved, skipped, remaining }
local base, state, offset, now = KEYS[1], ARGV[1], tonumber(ARGV[5]), now_ms()
local moved, skipped = 0, 0
drain(base)
local ids = redis.call('ZRANGEBYSCORE', base .. K[state], '-inf', ARGV[2], 'LIMIT', offset, ARGV[6])
for _, id in ipairs(ids) do
  local record = redis.call('HMGET', base .. K.record .. id, 'n', 'sc')
  -- What lost its secret when it had been used cannot run again.
  local fits = record[1] and not record[2] and (ARGV[3] == '' or record[1] == ARGV[3])
  if fits and ARGV[4] ~= '' then
    local message = redis.call('GET', base .. K.error .. id)
    fits = message and string.find(message, ARGV[4], 1, true)
  end
  if fits then retry(base, id, state, now, ARGV[7]); moved = moved + 1 else skipped = skipped + 1 end
end
close_act(base, ARGV[7])
if moved > 0 then wake(base) end
return { moved, skipped, math.max(0, redis.call('ZCOUNT', base .. K[state], '-inf', ARGV[2]) - offset - skipped) }
