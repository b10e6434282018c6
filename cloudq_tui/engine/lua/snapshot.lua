-- include clock
-- include told
-- snapshot: what the overview shows of every queue; its cost does not depend on how many jobs there are.
-- KEYS  1..n queue bases
-- ARGV  how many active jobs to show per queue
-- RETURNS { now, per queue {
--   waiting, active, completed, failed, delayed, due delayed,
--   pause { by, why, since, until } or false, oldest waiting since or false,
--   limiter { max, duration, used, first start } or false,
--   5 s slots { in, out } x 12 oldest first, minutes { completed, failed, busy ms } over 15,
--   active jobs { id, name, started, percent, step, timestamp, worker, rank, failures } }, or { what is wrong with its data } }
local SPAN = 4398046511104
local now = now_ms()
local answer = { now }

-- The first of each priority in use is its oldest; hop from priority to priority instead of keeping a tally.
local function oldest(base)
  local since, from = false, '-inf'
  for _ = 1, 40 do
    local head = redis.call('ZRANGEBYSCORE', base .. K.waiting, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if not head[1] then break end
    local w = tonumber(redis.call('HGET', base .. K.record .. head[1], 'w'))
    if w and (not since or w < since) then since = w end
    from = string.format('%.0f', (math.floor((tonumber(head[2]) - 1) / SPAN) + 1) * SPAN + 1)
  end
  return since
end

local function limiter(base)
  local conf = redis.call('HMGET', base .. K.meta, 'lm', 'ld')
  local max, duration = tonumber(conf[1] or 0), tonumber(conf[2] or 0)
  if max <= 0 then return false end
  local from = string.format('(%.0f', now - duration)
  local first = redis.call('ZRANGEBYSCORE', base .. K.limiter, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
  return { max, duration, redis.call('ZCOUNT', base .. K.limiter, from, '+inf'), tonumber(first[2] or 0) }
end

local SLOTS = {}
for slot = 0, 11 do SLOTS[#SLOTS + 1] = 'i' .. slot; SLOTS[#SLOTS + 1] = 'o' .. slot end

-- In and out of the last 12 slots of 5 s, oldest first, the current one last; they span two minutes.
local function slots(base)
  local minute, slot = math.floor(now / 60000), math.floor(now % 60000 / 5000)
  local before = redis.call('HMGET', base .. K.minute .. minute - 1, unpack(SLOTS))
  local this = redis.call('HMGET', base .. K.minute .. minute, unpack(SLOTS))
  local series = {}
  for i = slot + 1, slot + 12 do
    local from = i < 12 and before or this
    local at = 2 * (i % 12)
    series[#series + 1] = tonumber(from[at + 1] or 0)
    series[#series + 1] = tonumber(from[at + 2] or 0)
  end
  return series
end

local function minutes(base)
  local current, c, f, d = math.floor(now / 60000), 0, 0, 0
  for minute = current - 14, current do
    local v = redis.call('HMGET', base .. K.minute .. minute, 'c', 'f', 'd')
    c, f, d = c + tonumber(v[1] or 0), f + tonumber(v[2] or 0), d + tonumber(v[3] or 0)
  end
  return { c, f, d }
end

local function active(base, limit)
  local rows = {}
  if limit <= 0 then return rows end
  for _, id in ipairs(redis.call('ZRANGE', base .. K.active, 0, limit - 1)) do
    local r = redis.call('HMGET', base .. K.record .. id, 'n', 'po', 'pg', 'sp', 't', 'wk', 'r', 'a')
    if r[1] then rows[#rows + 1] = { id, r[1], r[2], r[3], r[4], r[5], r[6], r[7], r[8] } end
  end
  return rows
end

local function view(base)
  local p = redis.call('HMGET', base .. K.meta, 'pb', 'pw', 'ps', 'pu')
  local pause = false
  if p[1] and not (p[4] and tonumber(p[4]) <= now) then pause = { p[1], p[2], p[3], p[4] } end
  return {
    redis.call('ZCARD', base .. K.waiting), redis.call('ZCARD', base .. K.active),
    redis.call('ZCARD', base .. K.completed), redis.call('ZCARD', base .. K.failed),
    redis.call('ZCARD', base .. K.delayed), pause and redis.call('ZCOUNT', base .. K.delayed, '-inf', now) or 0,
    pause, oldest(base), limiter(base), slots(base), minutes(base), active(base, tonumber(ARGV[1])),
  }
end

for i, base in ipairs(KEYS) do answer[i + 1] = told(view, base) end
return answer
