-- include job
-- include drain
-- Claim from the queues KEYS[first..first+n-1]. ARGV from `at`:
--   request, worker, lease ms, limit, n, Huey space base or '', shared base, limiter over all queues: max (0 none)
--   and duration ms; then per queue:
--   queue name, want, concurrency (0 none), limiter max (0 none), limiter duration ms
-- Returns { now, ms until the next job may be ready or -1, { job, ... } }; a job is
--   { queue index, id, message, revocation of the id, record, revocation of the name, checkpoint }, false where there
--   is none, and its record { name, timestamp, rank, retries, failures, stalled, backoff, timeout }.
local function take(base, index, ids, now, request, worker, lease, space, queue, jobs)
  local leases, wanted, rows, revoked = {}, {}, {}, {}
  local started, ends = string.format('%.0f', now), string.format('%.0f', now + lease)
  local records, payloads, revocations = base .. K.record, base .. K.payload, space .. ':kv:r:'
  local n, w = 0, 0
  for i = 1, #ids do
    local id = ids[i]
    local rec = records .. id
    local r = redis.call('HMGET', rec, 'n', 't', 'r', 'R', 'a', 'st', 'b', 'to', 'c', 'y')
    local name = r[1]
    if name then
      redis.call('HSET', rec, 'tk', request, 'wk', worker, 'po', started)
      if r[10] then redis.call('HDEL', rec, 'y') end
      n, w = n + 1, w + 1
      leases[2 * n - 1], leases[2 * n] = ends, id
      wanted[w] = payloads .. id
      if space ~= '' then
        w = w + 1
        wanted[w] = revocations .. id
        if revoked[name] == nil then
          revoked[name] = redis.call('GET', space .. ':kv:rt:' .. queue .. ':' .. name)
        end
      end
      local checkpoint = r[9] and redis.call('GET', base .. K.checkpoint .. id)
      r[9], r[10] = nil, nil
      rows[n] = { index, id, false, false, r, revoked[name] or false, checkpoint }
    end
  end
  if n == 0 then return end
  redis.call('ZADD', base .. K.active, unpack(leases))
  local found = redis.call('MGET', unpack(wanted))
  for i = 1, n do
    local row = rows[i]
    if space ~= '' then row[3], row[4] = found[2 * i - 1], found[2 * i] else row[3] = found[i] end
    jobs[#jobs + 1] = row
  end
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
  -- One memory for all that asks under the same name: the part of its requests before the dot.
  local memory = KEYS[first] .. K.request .. (string.match(request, '^[^.]+') or worker)
  drain(KEYS[first])

  local last = redis.call('GET', memory)
  if last then
    last = cmsgpack.unpack(last)
    if last[1] == request then
      for _, group in ipairs(last[2]) do
        local index, held = group[1], {}
        local base = KEYS[first + index - 1]
        for _, id in ipairs(group[2]) do
          if redis.call('HGET', base .. K.record .. id, 'tk') == request then held[#held + 1] = id end
        end
        take(base, index, held, now, request, worker, lease, space, ARGV[at + 4 + 5 * index], jobs)
      end
      return { now, -1, jobs }
    end
  end

  local free, nonempty = {}, 0
  local function due_at(time)
    if time and (not next_due or time < next_due) then next_due = time end
  end
  for i = 1, n do
    local base, a = KEYS[first + i - 1], at + 4 + 5 * i
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

  local all_starts, all_max, all_duration = ARGV[at + 6] .. K.limiter, tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
  if all_max > 0 and nonempty > 0 then
    redis.call('ZREMRANGEBYSCORE', all_starts, '-inf', now - all_duration)
    local left = all_max - redis.call('ZCARD', all_starts)
    if left < limit then
      limit = math.max(0, left)
      due_at(tonumber(redis.call('ZRANGE', all_starts, 0, 0, 'WITHSCORES')[2] or now) + all_duration)
    end
  end

  -- A fair share for every queue with work, then what is left in the caller's order.
  local share = nonempty > 0 and math.max(1, math.floor(limit / nonempty)) or 0
  for round = 1, 2 do
    for i = 1, n do
      local base, a = KEYS[first + i - 1], at + 4 + 5 * i
      local want = math.min(free[i], limit - #jobs)
      if round == 1 then want = math.min(want, share) end
      if want > 0 then
        local popped, ids, starts = redis.call('ZPOPMIN', base .. K.waiting, want), {}, {}
        local limited = tonumber(ARGV[a + 3]) > 0
        for p = 1, #popped, 2 do
          ids[#ids + 1] = popped[p]
          if limited or all_max > 0 then starts[#starts + 1] = now; starts[#starts + 1] = request .. ':' .. popped[p] end
        end
        take(base, i, ids, now, request, worker, lease, space, ARGV[a], jobs)
        taken[#taken + 1] = { i, ids }
        event(base, 'active', table.concat(ids, ' '), worker)
        if limited then
          redis.call('ZADD', base .. K.limiter, unpack(starts))
          redis.call('PEXPIRE', base .. K.limiter, ARGV[a + 4])
        end
        if all_max > 0 and #starts > 0 then
          redis.call('ZADD', all_starts, unpack(starts))
          redis.call('PEXPIRE', all_starts, all_duration)
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
