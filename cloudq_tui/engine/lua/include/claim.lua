-- include job
-- include drain
-- Claim from the queues KEYS[first..first+n-1]. ARGV from `at`:
--   request, worker, lease ms, limit, n, Huey space base or '', then per queue:
--   queue name, want, concurrency (0 none), limiter max (0 none), limiter duration ms
-- Returns { now, ms until the next job may be ready or -1, { job, ... } }; a job is
--   { queue index, id, name, message, rank, timestamp, retries, failures, stalled, backoff, timeout,
--     checkpoint, revocation of the id, revocation of the name }, false where there is none.
local function take(base, index, id, now, request, worker, lease, space, queue)
  local rec = base .. K.record .. id
  local r = redis.call('HMGET', rec, 'n', 't', 'r', 'R', 'a', 'st', 'b', 'to', 'c')
  if not r[1] then return nil end
  redis.call('ZADD', base .. K.active, now + lease, id)
  redis.call('HSET', rec, 'tk', request, 'wk', worker, 'po', now)
  redis.call('HDEL', rec, 'y')
  local revoked, name_revoked = false, false
  if space ~= '' then
    revoked = redis.call('GET', space .. ':kv:r:' .. id)
    name_revoked = redis.call('GET', space .. ':kv:rt:' .. queue .. ':' .. r[1])
  end
  return { index, id, r[1], redis.call('GET', base .. K.payload .. id), r[3], r[2], r[4] or '0', r[5] or '0',
    r[6] or '0', r[7] or '', r[8] or '0', r[9] and redis.call('GET', base .. K.checkpoint .. id), revoked, name_revoked }
end

-- Due delayed jobs join the end of their priority; their wait counts from when they were due.
local function promote_due(base, now)
  local due = redis.call('ZRANGEBYSCORE', base .. K.delayed, '-inf', now, 'WITHSCORES', 'LIMIT', 0, 100)
  for i = 1, #due, 2 do
    redis.call('ZREM', base .. K.delayed, due[i])
    if redis.call('EXISTS', base .. K.record .. due[i]) == 1 then enqueue(base, due[i], tonumber(due[i + 1])) end
  end
end

local function claim(first, at)
  local request, worker, lease, limit = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local n, space = tonumber(ARGV[at + 4]), ARGV[at + 5]
  local now, jobs, taken, next_due = now_ms(), {}, {}, nil
  local memory = KEYS[first] .. K.request .. worker
  drain(KEYS[first])

  local last = redis.call('GET', memory)
  if last then
    last = cmsgpack.unpack(last)
    if last[1] == request then
      for _, pair in ipairs(last[2]) do
        local base = KEYS[first + pair[1] - 1]
        if redis.call('HGET', base .. K.record .. pair[2], 'tk') == request then
          jobs[#jobs + 1] = take(base, pair[1], pair[2], now, request, worker, lease, space, ARGV[at + 1 + 5 * pair[1]])
        end
      end
      return { now, -1, jobs }
    end
  end

  local free, nonempty = {}, 0
  local function due_at(time)
    if time and (not next_due or time < next_due) then next_due = time end
  end
  for i = 1, n do
    local base, a = KEYS[first + i - 1], at + 1 + 5 * i
    local paused, till = is_paused(base, now)
    free[i] = 0
    if paused then
      due_at(till)
    else
      promote_due(base, now)
      local room = math.min(tonumber(ARGV[a + 1]), redis.call('ZCARD', base .. K.waiting))
      local concurrency, max, duration = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3]), tonumber(ARGV[a + 4])
      if room > 0 and concurrency > 0 then
        room = math.min(room, concurrency - redis.call('ZCARD', base .. K.active))
      end
      if room > 0 and max > 0 then
        redis.call('ZREMRANGEBYSCORE', base .. K.limiter, '-inf', now - duration)
        local left = max - redis.call('ZCARD', base .. K.limiter)
        if left < room then
          room = left
          due_at(tonumber(redis.call('ZRANGE', base .. K.limiter, 0, 0, 'WITHSCORES')[2] or now) + duration)
        end
      end
      if room > 0 then free[i] = room; nonempty = nonempty + 1 end
      due_at(tonumber(redis.call('ZRANGE', base .. K.delayed, 0, 0, 'WITHSCORES')[2]))
    end
  end

  -- A fair share for every queue with work, then what is left in the caller's order.
  local share = nonempty > 0 and math.max(1, math.floor(limit / nonempty)) or 0
  for round = 1, 2 do
    for i = 1, n do
      local base, a = KEYS[first + i - 1], at + 1 + 5 * i
      local want = math.min(free[i], limit - #jobs)
      if round == 1 then want = math.min(want, share) end
      if want > 0 then
        local popped = redis.call('ZPOPMIN', base .. K.waiting, want)
        for p = 1, #popped, 2 do
          local job = take(base, i, popped[p], now, request, worker, lease, space, ARGV[a])
          if job then
            jobs[#jobs + 1] = job
            taken[#taken + 1] = { i, popped[p] }
            event(base, 'active', popped[p], worker)
            if tonumber(ARGV[a + 3]) > 0 then
              redis.call('ZADD', base .. K.limiter, now, request .. ':' .. popped[p])
              redis.call('PEXPIRE', base .. K.limiter, ARGV[a + 4])
            end
          end
        end
        free[i] = free[i] - #popped / 2
      end
    end
  end

  if #taken > 0 then
    redis.call('SET', memory, cmsgpack.pack({ request, taken }), 'PX', lease)
    -- Whoever waits beside this worker is told that there is more, or when the next one is due.
    for i = 1, n do
      local base = KEYS[first + i - 1]
      if free[i] > 0 or redis.call('ZCARD', base .. K.delayed) > 0 then wake(base) end
    end
  end
  return { now, next_due and math.max(0, next_due - now) or -1, jobs }
end
