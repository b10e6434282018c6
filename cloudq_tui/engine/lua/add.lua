-- include add
-- add: (none) -> waiting / delayed.
-- KEYS  1 queue base
-- ARGV  number of jobs (at most 500), then the twelve of include/add.lua for each
-- RETURNS per job 0 there already, 1 added, 2 added as the queue's first
-- Its first write grows, so a full Redis refuses the call whole.
return add_jobs(KEYS[1], 2, tonumber(ARGV[1]), now_ms())
