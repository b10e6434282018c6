-- include job
-- include drain
-- remove: any state but active -> gone.
-- KEYS  1 queue base
-- ARGV  id
-- RETURNS 'ok', 'missing', or 'active'
local base, id = KEYS[1], ARGV[1]
drain(base)
local state = state_of(base, id)
if not state then return 'missing' end
if state == 'active' then return state end
redis.call('ZREM', base .. K[state], id)
drop(base, id)
event(base, 'removed', id, state)
return 'ok'
