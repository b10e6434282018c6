-- include sweep
-- include drain
-- empty: one bounded step of waiting + delayed -> gone, for jobs created at or before the cutoff.
-- The offset counts what earlier steps skipped, over waiting and then delayed.
-- KEYS  1 queue base
-- ARGV  cutoff ms, offset, budget, act ('' forgets at once)
-- RETURNS { moved, skipped, remaining }
local base, cutoff, offset, budget = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
drain(base)
local waiting = redis.call('ZCARD', base .. K.waiting)
local moved, skipped = 0, 0
if offset < waiting then moved, skipped = sweep(base, 'waiting', cutoff, offset, budget, ARGV[4]) end
local left = waiting - moved
if offset + skipped >= left then
  local more, passed = sweep(base, 'delayed', cutoff, math.max(0, offset + skipped - left), budget - moved - skipped,
    ARGV[4])
  moved, skipped = moved + more, skipped + passed
end
if moved > 0 then event(base, 'emptied', '', tostring(moved)) end
local remaining = redis.call('ZCARD', base .. K.waiting) + redis.call('ZCARD', base .. K.delayed)
return { moved, skipped, math.max(0, remaining - offset - skipped) }
