-- include trash
-- include drain
-- undo: one bounded step of putting an act's jobs back where they stood, with state, order and score.
-- A job whose id was added again, or that was retried and claimed since, is skipped.
-- KEYS  1 queue base
-- ARGV  act, budget
-- RETURNS { moved, skipped, remaining }
local base, act, budget = KEYS[1], ARGV[1], tonumber(ARGV[2])
local key = base .. K.trash .. act
local moved, skipped = 0, 0
local ids, places, unqueued, values = {}, {}, {}, {}
drain(base)

local function stand(state, score, id)
  places[state] = places[state] or {}
  table.insert(places[state], score)
  table.insert(places[state], id)
end

local function put_back(id, entry)
  if redis.call('HGET', base .. K.record .. id, 'tr') ~= act then return false end
  local state, score = string.match(entry, '^(%a+) (%S+)$')
  stand(state, score, id)
  ids[#ids + 1] = id
  return true
end

local function take_back(id, before)
  local rec = base .. K.record .. id
  local now = redis.call('HMGET', rec, 's', 'po')
  if now[1] ~= before.place or now[2] or not redis.call('ZSCORE', base .. K.waiting, id) then return false end
  unqueued[#unqueued + 1] = id
  redis.call('HDEL', rec, 's', 'w')
  local fields = {}
  for _, field in ipairs({ 'fo', 'po', 'a', 'st', 'k', 'o' }) do
    if before[field] then fields[#fields + 1] = field; fields[#fields + 1] = before[field] end
  end
  redis.call('HSET', rec, unpack(fields))
  if before.x then values[#values + 1] = base .. K.error .. id; values[#values + 1] = before.x end
  if before.q then values[#values + 1] = base .. K.result .. id; values[#values + 1] = before.q end
  stand(before.state, before.fo, id)
  return true
end

-- Newest page first. The pages before one that has expired are gone with it.
while moved + skipped < budget do
  local number = tonumber(redis.call('HGET', key, 'pages') or 0)
  local page, done = key .. ':' .. number, {}
  local entries = redis.call('HGETALL', page)
  if #entries == 0 then
    redis.call('DEL', key)
    break
  end
  for i = 1, math.min(#entries, 2 * (budget - moved - skipped)), 2 do
    local id, entry, back = entries[i], entries[i + 1], false
    if string.find(entry, '^%a+ ') then back = put_back(id, entry) else back = take_back(id, cmsgpack.unpack(entry)) end
    if back then moved = moved + 1 else skipped = skipped + 1 end
    done[#done + 1] = id
  end
  in_slices('HDEL', page, done)
  if 2 * #done == #entries then redis.call('HINCRBY', key, 'pages', -1) end
end

for _, id in ipairs(ids) do redis.call('HDEL', base .. K.record .. id, 'tr') end
for _, one in ipairs(keys_there(base, ids)) do redis.call('PERSIST', one) end
in_slices('ZREM', base .. K.waiting, unqueued)
for i = 1, #values, SLICE do redis.call('MSET', unpack(values, i, math.min(i + SLICE - 1, #values))) end
for state, list in pairs(places) do in_slices('ZADD', base .. K[state], list) end
if moved > 0 then
  event(base, 'undone', '', tostring(moved))
  wake(base)
end
if redis.call('EXISTS', key) == 0 then return { moved, skipped, 0 } end
return { moved, skipped, redis.call('HINCRBY', key, 'jobs', -moved - skipped) }
