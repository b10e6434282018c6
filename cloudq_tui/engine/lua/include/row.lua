-- include clock
-- One job as a list row: { id, state, score, error, 16 record fields }; false where the record is gone.
local FIELDS = { 'n', 't', 'r', 'R', 'a', 'st', 'pg', 'sp', 'po', 'fo', 'wk', 'y', 'k', 'to', 'b', 'w' }

local function row(base, state, id, score)
  local fields = redis.call('HMGET', base .. K.record .. id, unpack(FIELDS))
  if not fields[1] then return false end
  return { id, state, score, redis.call('GET', base .. K.error .. id), fields }
end

local function paused_now(base)
  local p = redis.call('HMGET', base .. K.meta, 'pb', 'pu')
  return p[1] and not (p[2] and tonumber(p[2]) <= now_ms())
end

-- What readers call a state: a paused queue's waiting and due delayed jobs are `paused`.
-- Returns a list of { stored state, zset key, lowest score, highest score } to look through in order.
local function ranges(base, state)
  local paused = paused_now(base)
  local due = string.format('%.0f', now_ms())
  if state == 'paused' then
    if not paused then return {} end
    return { { 'waiting', K.waiting, '-inf', '+inf' }, { 'delayed', K.delayed, '-inf', due } }
  end
  if state == 'waiting' and paused then return {} end
  if state == 'delayed' and paused then return { { 'delayed', K.delayed, '(' .. due, '+inf' } } end
  return { { state, K[state], '-inf', '+inf' } }
end
