-- include job
-- A finished job waits again: attempts start afresh; its history and its checkpoint stay, its place is new.
local function retry(base, id, state, now)
  redis.call('ZREM', base .. K[state], id)
  redis.call('DEL', base .. K.error .. id, base .. K.result .. id)
  redis.call('HDEL', base .. K.record .. id, 'fo', 'po', 'a', 'st', 'k', 'pg', 'sp', 'tk', 'wk', 'cx')
  enqueue(base, id, now)
  event(base, 'retried', id)
end
