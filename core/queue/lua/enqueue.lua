-- Writes ids into a lane (KEYS[1]) and wakes workers. One that is to run at the front goes before those that wait; one
-- that waits keeps its place. PostgreSQL says that the member waits, so whoever holds it in Redis does so no longer: its
-- token goes. Returns how many were not written because the lane is full: the sweep enqueues them when there is room.
local call = cjson.decode(ARGV[1])
local group, rows, lane = call.group, call.rows, KEYS[1]
-- include: fair.lua
-- include: wake.lua
-- include: busy.lua
-- include: park.lua

-- A full lane still takes the ids of flows that have fewer than this waiting, up to a quarter more than the limit.
local SMALL_BACKLOG = 100

local parking, size = {}, redis.call('ZCARD', lane)
for _, flow in ipairs(redis.call('ZRANGE', group .. ':parked', 0, 99)) do
    parking[flow] = redis.call('ZCARD', lane .. ':parked:' .. flow)
    size = size + parking[flow]
end

-- Read and written for all of them at once where that can be: a call from Lua costs more than what it does.
local places, holders = {}, {}
if #rows > 0 then
    local members, held = {}, {}
    for i, row in ipairs(rows) do
        members[i] = row.member
        held[i] = IN_PROGRESS .. row.member
    end
    local found = redis.call('ZMSCORE', lane, unpack(members))
    local holding = redis.call('MGET', unpack(held))
    for i, member in ipairs(members) do
        places[member] = tonumber(found[i] or nil)
        holders[member] = holding[i]
    end
end

local at, next_tags = service(lane), {}
local function tags_of(flow)
    return next_tags[flow] or tonumber(redis.call('HGET', lane .. ':tags', flow) or 0)
end
local function next_tag(flow)
    local tag, following = tag_of(tags_of(flow), at)
    next_tags[flow] = following
    return tag
end
local function is_full(flow)
    return size >= call.limit and (size >= call.limit * 1.25 or tags_of(flow) - at >= SMALL_BACKLOG)
end
-- What the row's score becomes: before all, at its time, in the place that it has, or at the end of its flow.
local function score_of(row, waits)
    if row.at_front then return FRONT end
    if row.delay_ms > 0 then return now + row.delay_ms end
    return waits and places[row.member] or next_tag(row.flow)
end

local scored, written, refused = {}, 0, 0
for _, row in ipairs(rows) do
    local member, flow = row.member, row.flow
    local place = places[member]
    local parked = parking[flow] and redis.call('ZSCORE', lane .. ':parked:' .. flow, member)
    local in_turn = not row.at_front and row.delay_ms == 0
    if not place and not parked and not row.at_front and is_full(flow) then
        refused = refused + 1
    else
        -- guard: payload-expires
        redis.call('SET', PAYLOAD .. member, row.payload, 'PX', row.delay_ms + PAYLOAD_LIFE_MS)
        -- guard: enqueue-ends-hold
        if holders[member] then
            redis.call('DEL', IN_PROGRESS .. member)
            holders[member] = false
            if flow ~= '' then release(flow, member) end
        end
        if not place and not parked then size = size + 1 end
        if not in_turn or not parked then
            if parked then redis.call('ZREM', lane .. ':parked:' .. flow, member) end
            local waits = place and place < VIRTUAL_SCORES
            local score = score_of(row, waits)
            if in_turn and parking[flow] and not waits then
                -- Its flow is at its cap: a worker that is woken for it could only put it aside.
                park(lane, flow, member, score)
                places[member] = nil
            else
                scored[#scored + 1] = score
                -- guard: enqueue-once
                scored[#scored + 1] = member
                places[member] = score
                written = written + 1
            end
        end
    end
end

local tags = {}
for flow, tag in pairs(next_tags) do
    tags[#tags + 1] = flow
    tags[#tags + 1] = tag
end
if #tags > 0 then
    redis.call('HSET', lane .. ':tags', unpack(tags))
    redis.call('PEXPIRE', lane .. ':tags', TAGS_LIFE_MS)
end
if #scored > 0 then redis.call('ZADD', lane, unpack(scored)) end
wake(group, written)
return refused
