-- Who uses how many slots: for each flow a sorted set of what it runs, by the end of the hold, so that what a dead
-- worker held is forgotten by itself; and `flows`, the flows that run anything, by when their last hold ends.
-- The script has set `group`.
-- include: now.lua
local function flow_of(payload) return string.match(payload, '"' .. FLOW .. '":"([^"]*)"') or '' end

local function busy(flow)
    local key = group .. ':busy:' .. flow
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    return redis.call('ZCARD', key)
end

local function occupy(flow, members, lease_ms)
    local key, scored = group .. ':busy:' .. flow, {}
    for _, member in ipairs(members) do
        scored[#scored + 1] = now + lease_ms
        scored[#scored + 1] = member
    end
    redis.call('ZADD', key, unpack(scored))
    redis.call('PEXPIRE', key, lease_ms)
end

local function runs(flow, lease_ms)
    redis.call('ZADD', group .. ':flows', now + lease_ms, flow)
    redis.call('PEXPIRE', group .. ':flows', lease_ms + LINGER_MS)
end

local function release(flow, ...)
    redis.call('ZREM', group .. ':busy:' .. flow, ...)
    if redis.call('EXISTS', group .. ':busy:' .. flow) == 0 then
        redis.call('ZADD', group .. ':flows', 'XX', now + LINGER_MS, flow)
    end
end

-- Adds the member to the list of that name.
local function add(lists, name, member)
    lists[name] = lists[name] or {}
    table.insert(lists[name], member)
end
