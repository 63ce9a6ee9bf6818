-- What a flow at its cap has waiting is parked: out of the lane, with its tag, until a slot of the flow's is free. A
-- flow is in `parked` (by when a claim looks at it again) for as long as it has anything there. KEYS are the lanes.
-- The script has set `group`.
-- include: now.lua
local PARKED_LIFE_MS = 86400000

local function park(lane, flow, member, score)
    local key = lane .. ':parked:' .. flow
    redis.call('ZADD', key, score, member)
    redis.call('PEXPIRE', key, PARKED_LIFE_MS)
    redis.call('ZREM', lane, member)
    redis.call('ZADD', group .. ':parked', 'NX', now + 1000, flow)
    redis.call('PEXPIRE', group .. ':parked', PARKED_LIFE_MS)
end

local function unpark(flow, count)
    local moved, left = 0, 0
    for _, lane in ipairs(KEYS) do
        local key = lane .. ':parked:' .. flow
        if moved < count then
            local some = redis.call('ZPOPMIN', key, count - moved)
            for i = 1, #some, 2 do redis.call('ZADD', lane, 'NX', some[i + 1], some[i]) end
            moved = moved + #some / 2
        end
        left = left + redis.call('EXISTS', key)
    end
    if left == 0 then redis.call('ZREM', group .. ':parked', flow) end
    return moved
end
