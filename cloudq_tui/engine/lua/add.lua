-- include add
-- add: (none) -> waiting / delayed.
-- KEYS  1 queue base
-- ARGV  the twelve of include/add.lua
-- RETURNS 0 there already, 1 added, 2 added as the queue's first
-- Its first write grows, so a full Redis refuses the job whole.
return add_job(KEYS[1], 1, now_ms())
