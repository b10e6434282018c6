-- include row
-- include drain
-- examine_queue: whether a queue's own keys are what they must be, and whether its waiting jobs call for a worker.
-- KEYS  1 queue base
-- ARGV  the job whose worker is to be called if it still waits first and unheard, or '' to change nothing
-- RETURNS { { key, its type, ... } of wrong type, the first job that waits unheard or false, 1 if it is heard now }
-- Unheard: it could start, no wake marker tells a worker so, and no active job will by its end.
local base, call = KEYS[1], ARGV[1]
local TYPES = { 'waiting', 'zset', 'delayed', 'zset', 'active', 'zset', 'completed', 'zset', 'failed', 'zset',
  'meta', 'hash', 'limiter', 'zset', 'wake', 'zset', 'events', 'stream', 'totals', 'hash' }
if call ~= '' then drain(base) end

local wrong = {}
for i = 1, #TYPES, 2 do
  local kind = redis.call('TYPE', base .. K[TYPES[i]]).ok
  if kind ~= 'none' and kind ~= TYPES[i + 1] then
    wrong[#wrong + 1] = base .. K[TYPES[i]]
    wrong[#wrong + 1] = kind
  end
end
if #wrong > 0 then return { wrong, false, 0 } end

local now = now_ms()
local function limited()
  local conf = redis.call('HMGET', base .. K.meta, 'lm', 'ld')
  local max, duration = tonumber(conf[1] or 0), tonumber(conf[2] or 0)
  return max > 0 and redis.call('ZCOUNT', base .. K.limiter, string.format('(%.0f', now - duration), '+inf') >= max
end

local head = redis.call('ZRANGE', base .. K.waiting, 0, 0)[1]
if not head or redis.call('EXISTS', base .. K.wake) == 1 or paused_now(base) or limited()
  or redis.call('ZCOUNT', base .. K.active, now, '+inf') > 0 then
  return { wrong, false, 0 }
end
if call ~= head then return { wrong, head, 0 } end
redis.call('ZADD', base .. K.wake, 0, '0')
return { wrong, head, 1 }
