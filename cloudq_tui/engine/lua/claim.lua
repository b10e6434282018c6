-- include claim
-- claim: waiting -> active, highest priority first and first in first out within; promotes what is due.
-- KEYS  1..n queue bases, first served first
-- ARGV  those of include/claim.lua
-- RETURNS as include/claim.lua. The same request asked again returns the same jobs.
return claim(1, 1)
