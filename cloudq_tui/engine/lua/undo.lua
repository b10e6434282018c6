-- include trash
-- include drain
-- undo: one bounded step of putting an act's jobs back where they stood, with state, order and score.
-- A job whose id was added again, or that was retried and claimed since, is skipped.
-- KEYS  1 queue base
-- ARGV  act, budget
-- RETURNS { moved, skipped, remaining }
local base, act = KEYS[1], ARGV[1]
local key = base .. K.trash .. act
local moved, skipped = 0, 0
drain(base)

local function put_back(id, entry)
  local rec = base .. K.record .. id
  if redis.call('HGET', rec, 'tr') ~= act then return false end
  local state, score = string.match(entry, '^(%a+) (%S+)$')
  redis.call('HDEL', rec, 'tr')
  for _, family in ipairs(FAMILIES) do redis.call('PERSIST', base .. K[family] .. id) end
  redis.call('ZADD', base .. K[state], score, id)
  return true
end

local function take_back(id, before)
  local rec = base .. K.record .. id
  local place = redis.call('ZSCORE', base .. K.waiting, id)
  local now = redis.call('HMGET', rec, 's', 'po')
  if not place or now[1] ~= before.place or now[2] then return false end
  redis.call('ZREM', base .. K.waiting, id)
  redis.call('HDEL', rec, 's', 'w')
  for _, field in ipairs({ 'fo', 'po', 'a', 'st', 'k' }) do
    if before[field] then redis.call('HSET', rec, field, before[field]) end
  end
  if before.x then redis.call('SET', base .. K.error .. id, before.x) end
  if before.o then redis.call('SET', base .. K.result .. id, before.o) end
  redis.call('ZADD', base .. K[before.state], before.fo, id)
  return true
end

local entries = redis.call('HSCAN', key, 0, 'COUNT', ARGV[2])[2]
for i = 1, #entries, 2 do
  if moved + skipped >= tonumber(ARGV[2]) then break end
  local id, entry = entries[i], entries[i + 1]
  local done
  if string.find(entry, '^%a+ ') then done = put_back(id, entry) else done = take_back(id, cmsgpack.unpack(entry)) end
  if done then moved = moved + 1 else skipped = skipped + 1 end
  redis.call('HDEL', key, id)
end
if moved > 0 then
  event(base, 'undone', '', tostring(moved))
  wake(base)
end
return { moved, skipped, redis.call('HLEN', key) }
