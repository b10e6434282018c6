-- include retry
-- include drain
-- retry_all: one bounded step of failed / completed -> waiting for what finished before the cutoff.
-- KEYS  1 queue base
-- ARGV  state, cutoff ms, job name or '', part of the error line or '', offset, budget, act ('' for no undo)
-- RETURNS { moved, skipped, remaining }
local base, state, cutoff, offset, now = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[5]), now_ms()
local ids, records, skipped = {}, {}, 0
drain(base)
-- By rank: a LIMIT would walk past all that was skipped before.
local found = redis.call('ZRANGE', base .. K[state], offset, offset + ARGV[6] - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  if tonumber(found[i + 1]) > cutoff then break end
  local id = found[i]
  local record = redis.call('HMGET', base .. K.record .. id, unpack(FINISHED))
  -- What lost its secret when it had been used cannot run again.
  local fits = record[1] and not record[2] and (ARGV[3] == '' or record[1] == ARGV[3])
  if fits and ARGV[4] ~= '' then
    local message = redis.call('GET', base .. K.error .. id)
    fits = message and string.find(message, ARGV[4], 1, true)
  end
  if fits then
    ids[#ids + 1] = id
    records[#ids] = record
  else
    skipped = skipped + 1
  end
end
retry(base, ids, records, state, now, ARGV[7])
local left = redis.call('ZCOUNT', base .. K[state], '-inf', cutoff) - offset - skipped
return { #ids, skipped, math.max(0, left) }
