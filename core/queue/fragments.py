"""Pieces of Lua that several scripts of core/queue/scripts.py start with.

`group` is what the names of a worker's shared keys start with (core/queue/keys.py).
"""

from typing import Final

from core.queue.payload import FLOW

# Scores below are virtual time; real times in ms have been above since 2001, and a lane never counts so far.
VIRTUAL_SCORES: Final = 10**12
TAGS_LIFE_MS: Final = 86_400_000
# A tenant counts as running for so long after its last run ended: between two of its jobs nothing is given away.
LINGER_MS: Final = 1000
_IDLE_LIFE_MS: Final = 60_000
# Workers that died without a word are met and dropped, so many in one call.
_DEAD_IDLE: Final = 50

NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Start-time fair queueing (Goyal, Vin, Cheng 1996): what waits has a tag of virtual time as its score, far below every
# real time. Each flow (a tenant) counts its own tags from where service stands, so a flood waits behind itself alone.
# Whoever has fallen behind service waits half a tag before it: that is how a kept slot tells who asks for little.
# The tags live beside the lane until nothing waits in it; lost, they begin anew and nobody waits longer for it.
FAIR: Final = (
    NOW
    + f"""
local VIRTUAL, FRONT = {VIRTUAL_SCORES}, 0
local function service(lane)
    return math.max(1, tonumber(redis.call('HGET', lane .. ':tags', 'served') or 0))
end
local function tag(lane, flow, kind)
    local flows = lane .. ':tags' .. kind
    local now_served, own = service(lane), tonumber(redis.call('HGET', flows, flow) or 0)
    local start = math.max(now_served, own)
    redis.call('HSET', flows, flow, start + 1)
    redis.call('PEXPIRE', flows, {TAGS_LIFE_MS})
    return own < now_served and start - 0.5 or start
end
local function served(lane, score)
    local tags = lane .. ':tags'
    if redis.call('ZCOUNT', lane, '-inf', '(' .. VIRTUAL) == 0 then
        redis.call('DEL', tags, tags .. ':again')
    elseif score > service(lane) then
        redis.call('HSET', tags, 'served', score)
        redis.call('PEXPIRE', tags, {TAGS_LIFE_MS})
    end
end
"""
)

# Idle workers are in a sorted set, by how many slots they have open; each listens on a channel of its own. As many are
# woken as there is new work. One that nobody hears on its channel is gone, and the next is asked. The set has an empty
# member, the last: without it Redis has forgotten who is idle, and all are woken.
WAKE: Final = f"""
local function wake(group, count)
    local idle, tries = group .. ':idle', count + {_DEAD_IDLE}
    while count > 0 and tries > 0 do
        local worker = redis.call('ZRANGE', idle, -1, -1)[1]
        if worker == '' then return end
        if not worker then
            redis.call('ZADD', idle, -1, '')
            redis.call('PEXPIRE', idle, {_IDLE_LIFE_MS})
            redis.call('PUBLISH', string.match(group, '^(.*):') .. ':wake', '')
            return
        end
        redis.call('ZREM', idle, worker)
        count = count - redis.call('PUBLISH', group .. ':wake:' .. worker, '')
        tries = tries - 1
    end
end
local function is_idle(group, worker, slots)
    redis.call('ZADD', group .. ':idle', slots, worker)
    redis.call('PEXPIRE', group .. ':idle', {_IDLE_LIFE_MS})
end
"""

# Who uses how many slots: for each flow a sorted set of what it runs, by the end of the hold, so that what a dead
# worker held is forgotten by itself; and `flows`, the flows that run anything, by when their last hold ends.
BUSY: Final = f"""
local function flow_of(body) return string.match(body, '"{FLOW}":"([^"]*)"') or '' end
local function busy(flow)
    local key = group .. ':busy:' .. flow
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
    return redis.call('ZCARD', key)
end
local function occupy(flow, members, lease)
    local key, scored = group .. ':busy:' .. flow, {{}}
    for _, member in ipairs(members) do
        scored[#scored + 1] = now + lease
        scored[#scored + 1] = member
    end
    redis.call('ZADD', key, unpack(scored))
    redis.call('PEXPIRE', key, lease)
end
local function runs(flow, lease)
    redis.call('ZADD', group .. ':flows', now + lease, flow)
    redis.call('PEXPIRE', group .. ':flows', lease + {LINGER_MS})
end
local function release(flow, ...)
    redis.call('ZREM', group .. ':busy:' .. flow, ...)
    if redis.call('EXISTS', group .. ':busy:' .. flow) == 0 then
        redis.call('ZADD', group .. ':flows', 'XX', now + {LINGER_MS}, flow)
    end
end
"""

# What a flow at its cap has waiting is parked: out of the lane, with its tag, until a slot of the flow's is free. A
# flow is in `parked` (by when a claim looks at it again) for as long as it has anything there. KEYS are the lanes.
PARK: Final = f"""
local function park(lane, flow, member, score)
    local key = lane .. ':parked:' .. flow
    redis.call('ZADD', key, score, member)
    redis.call('PEXPIRE', key, {TAGS_LIFE_MS})
    redis.call('ZREM', lane, member)
    redis.call('ZADD', group .. ':parked', 'NX', now + 1000, flow)
    redis.call('PEXPIRE', group .. ':parked', {TAGS_LIFE_MS})
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
"""
