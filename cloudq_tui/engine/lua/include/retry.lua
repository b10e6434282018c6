-- include trash
-- Finished jobs wait again: attempts start afresh; history and checkpoint stay, their places are new, in this order.
-- With an act the finished states are written down, for an undo before anybody claims the jobs. `records` has of each
-- the fields of FINISHED.
local FINISHED = { 'n', 'sc', 'r', 'fo', 'po', 'a', 'st', 'k', 'o' }

local function retry(base, ids, records, state, now, act)
  if #ids == 0 then return end
  local ends, left, entries, waiting = {}, {}, {}, {}
  for i, id in ipairs(ids) do ends[2 * i - 1], ends[2 * i] = base .. K.error .. id, base .. K.result .. id end
  for i = 1, act ~= '' and #ends or 0, SLICE do
    for _, value in ipairs(redis.call('MGET', unpack(ends, i, math.min(i + SLICE - 1, #ends)))) do
      left[#left + 1] = value
    end
  end
  in_slices('ZREM', base .. K[state], ids)
  delete(ends)
  local sequence = redis.call('HINCRBY', base .. K.meta, 'seq', #ids) - #ids
  for i, id in ipairs(ids) do
    local rec, r = base .. K.record .. id, records[i]
    local place = string.format('%.0f', (tonumber(r[3]) or 5) * SPAN + sequence + i)
    redis.call('HDEL', rec, 'fo', 'po', 'a', 'st', 'k', 'pg', 'sp', 'tk', 'wk', 'cx', 'o')
    redis.call('HSET', rec, 's', place, 'w', now)
    waiting[2 * i - 1], waiting[2 * i] = place, id
    if act ~= '' then
      entries[2 * i - 1], entries[2 * i] = id, cmsgpack.pack({ state = state, place = place, fo = r[4], po = r[5],
        a = r[6], st = r[7], k = r[8], x = left[2 * i - 1], o = r[9], q = left[2 * i] })
    end
  end
  in_slices('ZADD', base .. K.waiting, waiting)
  if act ~= '' then file(base, act, entries) end
  event(base, 'retried', table.concat(ids, ' '))
  wake(base)
end
