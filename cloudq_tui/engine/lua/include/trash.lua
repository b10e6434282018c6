-- include job
-- What a person removes goes out of sight first and can be undone for ten minutes: its keys expire by themselves.
-- Each call that takes jobs away leaves a page of its act, a hash that says where each of them stood, so that neither
-- an undo nor an expiry ever meets a hash of a million fields; the act's own hash counts `pages` and `jobs`.
-- An act of '' forgets at once.
local UNDO_MS = 600000
local SLICE = 1000 -- what the Lua stack holds with ease; even
local FAMILIES = { 'record', 'payload', 'error', 'attempts', 'log', 'checkpoint', 'result' }

local function in_slices(command, key, list)
  for i = 1, #list, SLICE do redis.call(command, key, unpack(list, i, math.min(i + SLICE - 1, #list))) end
end

-- The keys of some ids. Of what few jobs have, a family is left out when one question says that none of them has it.
local function keys_there(base, ids)
  local all = {}
  for f, family in ipairs(FAMILIES) do
    local some, there = {}, f <= 2
    for i, id in ipairs(ids) do some[i] = base .. K[family] .. id end
    for i = 1, #some, SLICE do
      there = there or redis.call('EXISTS', unpack(some, i, math.min(i + SLICE - 1, #some))) > 0
    end
    if there then
      for _, key in ipairs(some) do all[#all + 1] = key end
    end
  end
  return all
end

-- Write the page of this call: id, entry, id, entry, ...
local function file(base, act, entries)
  local key = base .. K.trash .. act
  local page = key .. ':' .. redis.call('HINCRBY', key, 'pages', 1)
  in_slices('HSET', page, entries)
  redis.call('HINCRBY', key, 'jobs', #entries / 2)
  redis.call('PEXPIRE', page, UNDO_MS)
  redis.call('PEXPIRE', key, UNDO_MS)
end

-- Take jobs out of a state: { id, score, id, score, ... } as the sorted set gave them.
local function discard(base, state, found, act)
  if #found == 0 then return end
  local ids, entries = {}, {}
  for i = 1, #found, 2 do
    ids[#ids + 1] = found[i]
    entries[i], entries[i + 1] = found[i], state .. ' ' .. found[i + 1]
  end
  in_slices('ZREM', base .. K[state], ids)
  if act == '' then
    local all = {}
    for _, id in ipairs(ids) do keys_of(base, id, all) end
    delete(all)
    return
  end
  for _, id in ipairs(ids) do redis.call('HSET', base .. K.record .. id, 'tr', act) end
  for _, key in ipairs(keys_there(base, ids)) do redis.call('PEXPIRE', key, UNDO_MS) end
  file(base, act, entries)
end
