-- include job
-- include drain
-- recover: active -> waiting (old place), or failed as stalled, where the lease ran out.
-- KEYS  1..n queue bases
-- ARGV  max stalled, budget over all of them
-- RETURNS how many jobs were handled
local now, handled = now_ms(), 0
local max, budget = tonumber(ARGV[1]), tonumber(ARGV[2])
for _, base in ipairs(KEYS) do
  drain(base)
  local late = redis.call('ZRANGEBYSCORE', base .. K.active, '-inf', now, 'LIMIT', 0, budget - handled)
  for _, id in ipairs(late) do
    redis.call('ZREM', base .. K.active, id)
    local rec = base .. K.record .. id
    local r = redis.call('HMGET', rec, 'n', 'st', 'a', 'wk', 'po', 's', 'cx')
    if r[1] then
      local stalled = tonumber(r[2] or 0) + 1
      local detail = cjson.encode({ number = tonumber(r[3] or 0) + 1, outcome = 'stalled', worker = r[4] or '',
        error = 'the worker stopped renewing its lease', started = tonumber(r[5]), finished = now })
      redis.call('HSET', rec, 'st', stalled)
      if r[7] then
        count(base, now, 'x', 1)
        count(base, now, 'o', 1)
        redis.call('HINCRBY', base .. K.totals, r[1] .. '|x', 1)
        fail(base, id, now, 'cancelled', 'cancelled by ' .. r[7], detail)
      elseif stalled > max then
        count(base, now, 'f', 1)
        count(base, now, 'o', 1)
        redis.call('HINCRBY', base .. K.totals, r[1] .. '|f', 1)
        fail(base, id, now, 'stalled', 'stalled: its worker died or froze ' .. stalled .. ' times', detail)
      else
        redis.call('HDEL', rec, 'tk', 'wk', 'pg', 'sp')
        redis.call('RPUSH', base .. K.attempts .. id, detail)
        if r[6] then redis.call('ZADD', base .. K.waiting, r[6], id) else enqueue(base, id, now) end
        event(base, 'stalled', id, r[4] or '')
        wake(base)
      end
      handled = handled + 1
    end
  end
end
return handled
