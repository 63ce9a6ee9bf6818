"""The Lua that speaks arq's protocol, a batch at a time. Time is Redis's own, so a worker's clock can't matter.

The in-progress key holds a token for each acquisition, where stock arq writes `1` and only asks whether it exists.
The score moves to the lease's end on claim, where stock arq leaves it; a stock worker then sees a job that is not
due. Keys are built inside the scripts, as arq's own are: not for Redis Cluster (arq is not either).
"""

from typing import Final

from core.queue.keys import IN_PROGRESS, PAYLOAD
from core.queue.payload import FLOW

# Scores below are virtual time; real times in ms have been above since 2001, and a lane never counts so far.
VIRTUAL_SCORES: Final = 10**12
TAGS_LIFE_MS: Final = 86_400_000
# In one claim and lane: what is due beyond it gets its tag in the next one.
MAX_LINED_UP: Final = 500

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# Start-time fair queueing (Goyal, Vin, Cheng 1996): what waits has a tag of virtual time as its score, far below every
# real time. Each flow (a tenant) counts its own tags from where service stands, so a flood waits behind itself alone.
# Whoever has fallen behind service waits half a tag before it: that is how a kept slot tells who asks for little.
# The tags live beside the lane until nothing waits in it; lost, they begin anew and nobody waits longer for it.
_FAIR: Final = (
    _NOW
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

# KEYS: lane.  ARGV: wake channel, wake message, payload life ms, then (member, delay ms, payload, flow) for each. A
# negative delay puts the member before those that wait. One that waits keeps its place.
# PostgreSQL says that the member waits, so whoever holds it in Redis does so no longer: its token goes.
RING: Final = (
    _FAIR
    + f"""
for i = 4, #ARGV, 4 do
    local member, delay = ARGV[i], tonumber(ARGV[i + 1])
    redis.call('SET', '{PAYLOAD}' .. member, ARGV[i + 2], 'PX', math.max(0, delay) + ARGV[3])
    redis.call('DEL', '{IN_PROGRESS}' .. member)
    local score = delay < 0 and FRONT or now + delay
    if delay == 0 then
        local place = tonumber(redis.call('ZSCORE', KEYS[1], member) or VIRTUAL)
        score = place < VIRTUAL and place or tag(KEYS[1], ARGV[i + 3], '')
    end
    redis.call('ZADD', KEYS[1], score, member)
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
"""
)

# KEYS: lanes in order of preference.  ARGV: token, lease ms, slots kept free, then the share of each lane.
# A slot that is kept free takes nothing but what has fallen behind service: a tenant that asks for little.
# What had a time and is due gets a tag first, in a flow of its tenant's own: a retry does not wait behind the tenant's
# whole backlog, and many of them do not stand before everybody else's.
# Answers [ms until the next time comes (-1: none will), whether tenants wait beside each other (1 or 0), then (lane's
# index, member, payload) for each].
CLAIM: Final = (
    _FAIR
    + f"""
local token, lease, kept = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local claimed = {{}}
local function put_off_if_held(lane, member)
    local left = redis.call('PTTL', '{IN_PROGRESS}' .. member)
    if left == -2 then return false end
    -- A holder without an end would hold for ever, whoever wrote it.
    if left == -1 then redis.call('PEXPIRE', '{IN_PROGRESS}' .. member, lease) end
    redis.call('ZADD', lane, 'XX', now + 1000, member)
    return true
end
local function body_of(member)
    local body = redis.pcall('GET', '{PAYLOAD}' .. member)
    return type(body) == 'string' and body or ''
end
local function line_up(lane)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', lane, VIRTUAL, now, 'LIMIT', 0, {MAX_LINED_UP})) do
        if not put_off_if_held(lane, member) then
            local flow = string.match(body_of(member), '"{FLOW}":"([^"]*)"') or ''
            redis.call('ZADD', lane, tag(lane, flow, ':again'), member)
        end
    end
end
local function take(index, wanted, below)
    local lane, got, last = KEYS[index], 0, FRONT
    while got < wanted do
        local due = redis.call('ZRANGEBYSCORE', lane, '-inf', '(' .. below, 'WITHSCORES', 'LIMIT', 0, wanted - got)
        if #due == 0 then break end
        for i = 1, #due, 2 do
            local member = due[i]
            if not put_off_if_held(lane, member) then
                redis.call('SET', '{IN_PROGRESS}' .. member, token, 'PX', lease)
                redis.call('ZADD', lane, 'XX', now + lease, member)
                claimed[#claimed + 1] = index - 1
                claimed[#claimed + 1] = member
                claimed[#claimed + 1] = body_of(member)
                got, last = got + 1, tonumber(due[i + 1])
            end
        end
    end
    if got > 0 then served(lane, last) end
    return got
end
local left = 0
for i = 1, #KEYS do
    line_up(KEYS[i])
    local share = tonumber(ARGV[3 + i])
    left = left + share - take(i, share, VIRTUAL)
end
for i = 1, #KEYS do
    if left > 0 then left = left - take(i, left, VIRTUAL) end
    if kept > 0 then kept = kept - take(i, kept, service(KEYS[i])) end
end
local due_in, contested = -1, 0
for _, lane in ipairs(KEYS) do
    local first = redis.call('ZRANGEBYSCORE', lane, VIRTUAL, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if first[2] and (due_in < 0 or first[2] - now < due_in) then due_in = math.max(0, first[2] - now) end
    -- Beside `served`, one field for each tenant.
    local tags = lane .. ':tags'
    if redis.call('HLEN', tags) - redis.call('HEXISTS', tags, 'served') > 1 then contested = 1 end
end
return {{due_in, contested, unpack(claimed)}}
"""
)

# KEYS: none.  ARGV: wake channel, wake message, then (lane key, member, token, delay ms or '') for each.
# Only the token's holder may finish: a member that was rung again since stays for its next run. One that nobody holds
# (Redis lost its memory) still gets the later run that it asks for. Answers how many were held.
FINISH: Final = (
    _NOW
    + f"""
local finished, due_now = 0, false
-- A negative delay is before all that waits.
local function later(delay) return tonumber(delay) < 0 and 0 or now + delay end
for i = 3, #ARGV, 4 do
    local lane, member, token, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local holder = redis.call('GET', '{IN_PROGRESS}' .. member)
    if holder == token then
        redis.call('DEL', '{IN_PROGRESS}' .. member)
        finished = finished + 1
        if delay ~= '' then
            redis.call('ZADD', lane, later(delay), member)
        else
            redis.call('ZREM', lane, member)
            redis.call('DEL', '{PAYLOAD}' .. member)
        end
    elseif not holder and delay ~= '' then
        redis.call('ZADD', lane, 'NX', later(delay), member)
    end
    due_now = due_now or (delay ~= '' and tonumber(delay) <= 0)
end
if due_now then redis.call('PUBLISH', ARGV[1], ARGV[2]) end
return finished
"""
)

# KEYS: none.  ARGV: lease ms, payload life ms, then (lane key, member, token) for each.
# Answers how many are still held.
HEARTBEAT: Final = (
    _NOW
    + f"""
local lease, renewed = tonumber(ARGV[1]), 0
for i = 3, #ARGV, 3 do
    local lane, member, token = ARGV[i], ARGV[i + 1], ARGV[i + 2]
    if redis.call('GET', '{IN_PROGRESS}' .. member) == token then
        redis.call('PEXPIRE', '{IN_PROGRESS}' .. member, lease)
        redis.call('PEXPIRE', '{PAYLOAD}' .. member, lease + ARGV[2])
        redis.call('ZADD', lane, 'XX', now + lease, member)
        renewed = renewed + 1
    end
end
return renewed
"""
)
