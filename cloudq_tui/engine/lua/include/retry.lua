-- include trash
-- A finished job waits again: attempts start afresh; its history and its checkpoint stay, its place is new.
-- With an act the finished state is written down, for an undo before anybody claims the job.
local function retry(base, id, state, now, act)
  local rec = base .. K.record .. id
  local before
  if act ~= '' then
    local r = redis.call('HMGET', rec, 'fo', 'po', 'a', 'st', 'k')
    before = { state = state, fo = r[1], po = r[2], a = r[3], st = r[4], k = r[5],
      x = redis.call('GET', base .. K.error .. id), o = redis.call('GET', base .. K.result .. id) }
  end
  redis.call('ZREM', base .. K[state], id)
  redis.call('DEL', base .. K.error .. id, base .. K.result .. id)
  redis.call('HDEL', rec, 'fo', 'po', 'a', 'st', 'k', 'pg', 'sp', 'tk', 'wk', 'cx')
  enqueue(base, id, now)
  if before then
    before.place = redis.call('HGET', rec, 's')
    redis.call('HSET', base .. K.trash .. act, id, cmsgpack.pack(before))
  end
  event(base, 'retried', id)
end
