-- A worker that claims no more is not woken, and whom it may have kept from waking is.
-- include: wake.lua
local call = cjson.decode(ARGV[1])
if redis.call('ZREM', call.group .. ':idle', call.worker) == 0 then wake(call.group, 1) end
