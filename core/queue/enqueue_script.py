"""The Lua that writes new ids into a lane, a batch at a time; what workers do with them is in core/queue/scripts.py."""

from typing import Final

from core.queue.fragments import BUSY, FAIR, PARK, TAGS_LIFE_MS, WAKE
from core.queue.keys import IN_PROGRESS, PAYLOAD

# A full lane still takes the ids of flows that have fewer than this waiting, up to a quarter more than the limit.
_SMALL_BACKLOG: Final = 100

# KEYS: lane.  ARGV: group, payload life ms, most ids in the lane, then (member, delay ms, payload, flow) for each. A
# negative delay puts the member before those that wait. One that waits keeps its place.
# PostgreSQL says that the member waits, so whoever holds it in Redis does so no longer: its token goes.
# Answers how many were not written because the lane is full: the sweep enqueues them when there is room.
ENQUEUE: Final = (
    FAIR
    + WAKE
    + "local group = ARGV[1]"
    + BUSY
    + PARK
    + f"""
local lane, limit = KEYS[1], tonumber(ARGV[3])
local parking, size = {{}}, redis.call('ZCARD', lane)
for _, flow in ipairs(redis.call('ZRANGE', group .. ':parked', 0, 99)) do
    parking[flow] = redis.call('ZCARD', lane .. ':parked:' .. flow)
    size = size + parking[flow]
end
-- Read and written for all of them at once where that can be: a call from Lua costs more than what it does.
local places, holders, starts, tagged, lined = {{}}, {{}}, {{}}, {{}}, {{}}
local count = (#ARGV - 3) / 4
if count > 0 then
    local members, held = {{}}, {{}}
    for i = 1, count do
        members[i] = ARGV[4 * i]
        held[i] = '{IN_PROGRESS}' .. ARGV[4 * i]
    end
    local found = redis.call('ZMSCORE', lane, unpack(members))
    local holding = redis.call('MGET', unpack(held))
    for i = 1, count do
        places[members[i]] = tonumber(found[i] or nil)
        holders[members[i]] = holding[i]
    end
end
local at = service(lane)
local function next_tag(flow)
    local own = starts[flow]
    if not own then own = tonumber(redis.call('HGET', lane .. ':tags', flow) or 0) end
    local start = math.max(at, own)
    starts[flow] = start + 1
    return own < at and start - 0.5 or start
end
local function is_full(flow)
    if size < limit then return false end
    local backlog = (starts[flow] or tonumber(redis.call('HGET', lane .. ':tags', flow) or 0)) - at
    return size >= limit * 1.25 or backlog >= {_SMALL_BACKLOG}
end
local written, refused = 0, 0
for i = 4, #ARGV, 4 do
    local member, delay, flow = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 3]
    local place = places[member]
    local parked = parking[flow] and redis.call('ZSCORE', lane .. ':parked:' .. flow, member)
    if not place and not parked and delay >= 0 and is_full(flow) then
        refused = refused + 1
    else
        -- guard: payload-expires
        redis.call('SET', '{PAYLOAD}' .. member, ARGV[i + 2], 'PX', math.max(0, delay) + ARGV[2])
        -- guard: enqueue-ends-hold
        if holders[member] then
            redis.call('DEL', '{IN_PROGRESS}' .. member)
            holders[member] = false
            if flow ~= '' then release(flow, member) end
        end
        if not place and not parked then size = size + 1 end
        if delay ~= 0 or not parked then
            if parked then redis.call('ZREM', lane .. ':parked:' .. flow, member) end
            local score = delay < 0 and FRONT or now + delay
            if delay == 0 then score = place and place < VIRTUAL and place or next_tag(flow) end
            if delay == 0 and parking[flow] and (not place or place >= VIRTUAL) then
                -- Its flow is at its cap: a worker that is woken for it could only put it aside.
                park(lane, flow, member, score)
                places[member] = nil
            else
                lined[#lined + 1] = score
                -- guard: enqueue-once
                lined[#lined + 1] = member
                places[member] = score
                written = written + 1
            end
        end
    end
end
for flow, start in pairs(starts) do
    tagged[#tagged + 1] = flow
    tagged[#tagged + 1] = start
end
if #tagged > 0 then
    redis.call('HSET', lane .. ':tags', unpack(tagged))
    redis.call('PEXPIRE', lane .. ':tags', {TAGS_LIFE_MS})
end
if #lined > 0 then redis.call('ZADD', lane, unpack(lined)) end
wake(group, written)
return refused
"""
)
