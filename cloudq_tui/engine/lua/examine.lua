-- include trash
-- include drain
-- examine: whether each id stands in exactly one state and its record agrees; by choice makes it so.
-- KEYS  1 queue base
-- ARGV  1 repairs / 0 only looks, ms after which a lease that ran out must have been swept, ids (at most 250)
-- RETURNS flat, per flaw: id, flaw, what was done ('' nothing). The flaws, and what a repair does:
--   orphan     in a state without a record that can be read      removed
--   stateless  a record in no state and not in the trash         waiting (a new place), failed or completed (it had
--                                                                ended), dropped (nothing is left to run)
--   trashed    in a state while its record lies in the trash     kept (it expires no more)
--   doubled    in several states                                 the state it stays in: active with a valid lease,
--                                                                else the first of ORDER
--   unleased   active, but no token says whose it is             ended (its lease ends now; a sweep recovers it)
--   lapsed     active, its lease ran out long ago                nothing: recover does it
--   held       waiting or delayed, but a token could still end it  freed
--   misplaced  waiting, its record names another place           placed (the sorted set is right)
local ORDER = { 'waiting', 'delayed', 'failed', 'completed', 'active' }
local base, repair, late, now = KEYS[1], ARGV[1] == '1', tonumber(ARGV[2]), now_ms()
local found, repaired, roused = {}, {}, false
if repair then drain(base) end

local function flaw(id, kind, done)
  found[#found + 1] = id; found[#found + 1] = kind; found[#found + 1] = repair and done or ''
  if repair and done ~= '' then
    repaired[kind] = repaired[kind] or {}
    table.insert(repaired[kind], id)
  end
end

-- A record that says it ended goes back there: to run a completed job again could send its mail twice.
local function restore(id, r)
  local rec, ended = base .. K.record .. id, tonumber(r[5])
  local done
  if not r[1] then
    done = 'dropped'
  elseif ended then
    done = r[6] and 'failed' or 'completed'
    if repair then redis.call('ZADD', base .. K[done], ended, id) end
  elseif r[7] then
    done = 'failed'
    if repair then
      count(base, now, 'x', 1)
      count(base, now, 'o', 1)
      fail(base, id, now, 'cancelled', 'cancelled by ' .. r[7], '')
    end
  elseif redis.call('EXISTS', base .. K.payload .. id) == 0 then
    done = 'dropped'
  else
    done = 'waiting'
    if repair then
      redis.call('HDEL', rec, 'tk', 'wk', 'pg', 'sp')
      enqueue(base, id, now)
      roused = true
    end
  end
  if repair and done == 'dropped' then drop(base, id) end
  flaw(id, 'stateless', done)
end

-- Leave an id in one state, with nothing in its record that belongs to another.
local function keep_in(id, winner, places)
  local rec = base .. K.record .. id
  for _, state in ipairs(ORDER) do
    if state ~= winner and places[state] then redis.call('ZREM', base .. K[state], id) end
  end
  if winner ~= 'active' then redis.call('HDEL', rec, 'tk', 'wk', 'pg', 'sp') end
  if winner == 'failed' or winner == 'completed' then
    redis.call('HSETNX', rec, 'fo', places[winner])
  else
    redis.call('HDEL', rec, 'fo', 'k')
  end
  if winner ~= 'completed' then
    redis.call('HDEL', rec, 'o')
    redis.call('DEL', base .. K.result .. id)
  end
  roused = roused or winner == 'waiting'
end

local function examine(id)
  local rec = base .. K.record .. id
  local r = redis.pcall('HMGET', rec, 'n', 'tk', 's', 'tr', 'fo', 'k', 'cx')
  if r.err then r = {} end -- no hash is as good as no record
  local places, standing, winner = {}, 0, nil
  for _, state in ipairs(ORDER) do
    local score = redis.call('ZSCORE', base .. K[state], id)
    if score then places[state] = score; standing = standing + 1; winner = winner or state end
  end
  if standing == 0 then
    if not r[4] and (r[1] or redis.call('EXISTS', rec) == 1) then restore(id, r) end
    return
  end
  if not r[1] then
    if repair then
      for state in pairs(places) do redis.call('ZREM', base .. K[state], id) end
      drop(base, id)
    end
    flaw(id, 'orphan', 'removed')
    return
  end
  if r[4] then
    if repair then
      redis.call('HDEL', rec, 'tr')
      for _, family in ipairs(FAMILIES) do redis.call('PERSIST', base .. K[family] .. id) end
    end
    flaw(id, 'trashed', 'kept')
  end
  local token, lease = r[2] and r[2] ~= '', tonumber(places.active)
  if token and lease and lease > now then winner = 'active' end
  if standing > 1 then
    if repair then keep_in(id, winner, places) end
    flaw(id, 'doubled', winner)
  elseif token and (winner == 'waiting' or winner == 'delayed') then
    if repair then redis.call('HDEL', rec, 'tk', 'wk') end
    flaw(id, 'held', 'freed')
  end
  if winner == 'active' then
    if not token and lease > now then
      if repair then redis.call('ZADD', base .. K.active, 'XX', now, id) end
      flaw(id, 'unleased', 'ended')
    elseif lease < now - late then
      flaw(id, 'lapsed', '')
    end
  elseif winner == 'waiting' and tonumber(r[3]) ~= tonumber(places.waiting) then
    if repair then redis.call('HSET', rec, 's', places.waiting) end
    flaw(id, 'misplaced', 'placed')
  end
end

for i = 3, #ARGV do examine(ARGV[i]) end
if roused then wake(base) end
for kind, ids in pairs(repaired) do event(base, 'repaired', table.concat(ids, ' '), kind) end
return found
