-- include job
-- What a person removes goes out of sight first and can be undone for ten minutes: its keys expire by themselves,
-- and a hash per act says where each job stood. An act of '' forgets at once.
local UNDO_MS = 600000
local FAMILIES = { 'record', 'payload', 'error', 'attempts', 'log', 'checkpoint', 'result' }

local function discard(base, id, state, score, act)
  if act == '' then
    drop(base, id)
    return
  end
  redis.call('HSET', base .. K.record .. id, 'tr', act)
  for _, family in ipairs(FAMILIES) do redis.call('PEXPIRE', base .. K[family] .. id, UNDO_MS) end
  redis.call('HSET', base .. K.trash .. act, id, state .. ' ' .. score)
end

-- The hash of an act lives as long as the jobs in it.
local function close_act(base, act)
  if act ~= '' then redis.call('PEXPIRE', base .. K.trash .. act, UNDO_MS) end
end
