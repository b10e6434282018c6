-- include sweep
-- include drain
-- clean: one bounded step of removing jobs of one state older than a time (finished: since then; else created).
-- KEYS  1 queue base
-- ARGV  state (completed failed waiting delayed), before ms, offset, budget, act ('' forgets at once)
-- RETURNS { moved, skipped, remaining }
local base, state, before = KEYS[1], ARGV[1], tonumber(ARGV[2])
local offset, budget, moved, skipped, remaining = tonumber(ARGV[3]), tonumber(ARGV[4]), 0, 0, 0
drain(base)
if state == 'completed' or state == 'failed' then
  local found = redis.call('ZRANGEBYSCORE', base .. K[state], '-inf', before, 'WITHSCORES', 'LIMIT', 0, budget)
  discard(base, state, found, ARGV[5])
  moved = #found / 2
  remaining = redis.call('ZCOUNT', base .. K[state], '-inf', before)
else
  moved, skipped = sweep(base, state, before, offset, budget, ARGV[5])
  remaining = math.max(0, redis.call('ZCARD', base .. K[state]) - offset - skipped)
end
if moved > 0 then event(base, 'cleaned', '', state .. ' ' .. moved) end
return { moved, skipped, remaining }
