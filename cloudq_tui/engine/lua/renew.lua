-- include clock
-- include drain
-- renew: active, stays active, for exactly the leases listed.
-- KEYS  1..n queue bases
-- ARGV  lease ms; per lease: base index, id, token
-- RETURNS per lease 0 lost, 1 held, 2 held and cancelled by a person
local now = now_ms()
local lease, answers = tonumber(ARGV[1]), {}
drain(KEYS[1])
for a = 2, #ARGV, 3 do
  local base = KEYS[tonumber(ARGV[a])]
  local record = redis.call('HMGET', base .. K.record .. ARGV[a + 1], 'tk', 'cx')
  local answer = 0
  if record[1] == ARGV[a + 2] then
    redis.call('ZADD', base .. K.active, 'XX', now + lease, ARGV[a + 1])
    answer = record[2] and 2 or 1
  end
  answers[#answers + 1] = answer
end
return answers
