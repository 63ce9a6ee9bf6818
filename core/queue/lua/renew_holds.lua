-- Keeps the holds that nobody else took. Returns how many those are.
local call = cjson.decode(ARGV[1])
local group, lease_ms = call.group, call.lease_ms
-- include: busy.lua
local renewed, running = 0, {}
for _, hold in ipairs(call.holds) do
    local member = hold.member
    -- guard: renew-own-hold
    if redis.call('GET', IN_PROGRESS .. member) == hold.token then
        redis.call('PEXPIRE', IN_PROGRESS .. member, lease_ms)
        redis.call('PEXPIRE', PAYLOAD .. member, lease_ms + PAYLOAD_LIFE_MS)
        redis.call('ZADD', hold.lane, 'XX', now + lease_ms, member)
        renewed = renewed + 1
        if hold.flow ~= '' then add(running, hold.flow, member) end
    end
end
for flow, members in pairs(running) do
    occupy(flow, members, lease_ms)
    runs(flow, lease_ms)
end
return renewed
