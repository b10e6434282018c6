-- include trash
-- include drain
-- remove: any state but active -> gone.
-- KEYS  1 queue base
-- ARGV  id, act ('' forgets at once)
-- RETURNS 'ok', 'missing', or 'active'
local base, id = KEYS[1], ARGV[1]
drain(base)
local state, score = state_of(base, id)
if not state then return 'missing' end
if state == 'active' then return state end
discard(base, state, { id, score }, ARGV[2])
event(base, 'removed', id, state)
return 'ok'
