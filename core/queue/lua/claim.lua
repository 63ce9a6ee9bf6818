-- Takes members for one worker; KEYS are its lanes in order of preference. Of each lane as many as its share, then what
-- is left of the shares from the others, then `kept` more: a slot that is kept free takes nothing but what has fallen
-- behind service, a tenant that asks for little. `rooms` says of each lane how many may be taken from it and those after.
-- What had a time and is due gets a tag first, in a line of its flow's own: a retry does not wait behind the tenant's
-- whole backlog, and many of them do not stand before everybody else's.
-- Returns {ms until the next time comes (-1: none will, or another worker looks then), whether two flows or more run or
-- wait (1 or 0), whether Redis is out of memory (1 or 0), {lane's index from 0, member, payload, …}}.
local call = cjson.decode(ARGV[1])
local group, worker, token, lease_ms, rooms = call.group, call.worker, call.token, call.lease_ms, call.rooms
-- include: fair.lua
-- include: wake.lua
-- include: busy.lua
-- include: park.lua

-- In one claim and lane: what is due beyond it gets its tag in the next one.
local MAX_LINED_UP = 500
-- How much of a flow's is let back at once when a cap has risen.
local MAX_UNPARKED = 200
-- An idle worker looks again for a time as near as this; the tick covers what is further.
local SOON_MS = 1000

-- Asked before the first write: a script that has written may go on without new memory being refused, and a claim must
-- not be, or a Redis that is full of the queue could never be emptied.
local probe = redis.pcall('ZADD', group .. ':idle', 'XX', -1, '')
local full = type(probe) == 'table' and string.find(probe.err, 'OOM', 1, true) and 1 or 0
redis.call('ZREM', group .. ':idle', worker)

local claimed, in_use, taken, parked = {}, {}, {}, 0

local function room(index)
    local least = rooms[1]
    for i = 2, index do least = math.min(least, rooms[i]) end
    return least
end
-- -1: no cap.
local function cap_of(flow) return call.counts_flows and (call.own_caps[flow] or call.cap) or -1 end
local function is_capped(flow)
    if not in_use[flow] then in_use[flow] = busy(flow) end
    return cap_of(flow) >= 0 and in_use[flow] >= cap_of(flow)
end
local function put_off_if_held(lane, member)
    local left = redis.call('PTTL', IN_PROGRESS .. member)
    if left == -2 then return false end
    -- A holder without an end would hold for ever, whoever wrote it.
    -- guard: foreign-hold-expires
    if left == -1 then redis.call('PEXPIRE', IN_PROGRESS .. member, lease_ms) end
    redis.call('ZADD', lane, 'XX', now + 1000, member)
    return true
end
local function payload_of(member)
    local payload = redis.pcall('GET', PAYLOAD .. member)
    return type(payload) == 'string' and payload or ''
end
local function line_up(lane)
    for _, member in ipairs(redis.call('ZRANGEBYSCORE', lane, VIRTUAL_SCORES, now, 'LIMIT', 0, MAX_LINED_UP)) do
        if not put_off_if_held(lane, member) then
            redis.call('ZADD', lane, retry_tag(lane, flow_of(payload_of(member))), member)
        end
    end
end

-- Takes at most `most` of the lane, with scores below `below`. Returns how many.
local function take(index, most, below)
    local lane, got, last = KEYS[index], 0, FRONT
    most = math.min(most, room(index))
    while got < most and parked < MAX_PARKED do
        local ahead = most - got + math.min(parked, 50)
        local due = redis.call('ZRANGEBYSCORE', lane, '-inf', '(' .. below, 'WITHSCORES', 'LIMIT', 0, ahead)
        if #due == 0 then break end
        local keys, moved = {}, {}
        for i = 1, #due, 2 do keys[#keys + 1] = PAYLOAD .. due[i] end
        local payloads = redis.call('MGET', unpack(keys))
        for i = 1, #due, 2 do
            if got == most then break end
            local member, payload = due[i], payloads[(i + 1) / 2] or ''
            local flow = call.counts_flows and flow_of(payload) or ''
            if flow ~= '' and is_capped(flow) then
                if not put_off_if_held(lane, member) then
                    park(lane, flow, member, due[i + 1])
                    parked = parked + 1
                end
            -- guard: hold-taken-once
            -- guard: hold-expires
            elseif redis.call('SET', IN_PROGRESS .. member, token, 'NX', 'PX', lease_ms) then
                moved[#moved + 1] = now + lease_ms
                moved[#moved + 1] = member
                if flow ~= '' then
                    add(taken, flow, member)
                    in_use[flow] = in_use[flow] + 1
                end
                claimed[#claimed + 1] = index - 1
                claimed[#claimed + 1] = member
                claimed[#claimed + 1] = payload
                got, last = got + 1, tonumber(due[i + 1])
            else
                put_off_if_held(lane, member)
            end
        end
        -- guard: claimed-score-moves
        if #moved > 0 then redis.call('ZADD', lane, 'XX', unpack(moved)) end
    end
    for i = 1, index do rooms[i] = rooms[i] - got end
    if got > 0 then served(lane, last) end
    return got
end

-- Slots that were freed by a death, or by a higher cap: their flows are looked at again, a few in each claim.
local function let_back()
    for _, flow in ipairs(redis.call('ZRANGEBYSCORE', group .. ':parked', '-inf', now, 'LIMIT', 0, 3)) do
        local most = cap_of(flow)
        local free = most < 0 and MAX_UNPARKED or math.min(MAX_UNPARKED, most - busy(flow))
        redis.call('ZADD', group .. ':parked', 'XX', now + 500, flow)
        if free > 0 then unpark(flow, free) end
    end
end

-- Ms until the next time comes in any lane; -1: none will.
local function next_due()
    local due_in = -1
    for _, lane in ipairs(KEYS) do
        local first = redis.call('ZRANGEBYSCORE', lane, VIRTUAL_SCORES, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
        if first[2] and (due_in < 0 or first[2] - now < due_in) then due_in = math.max(0, first[2] - now) end
    end
    return due_in
end

-- Whether two flows or more run or wait.
local function is_contested()
    local flows, found = {}, 0
    local function see(flow)
        if flow ~= '' and not flows[flow] then flows[flow], found = true, found + 1 end
    end
    for _, flow in ipairs(redis.call('ZRANGEBYSCORE', group .. ':flows', now, '+inf', 'LIMIT', 0, 2)) do see(flow) end
    for i = 1, found < 2 and #KEYS or 0 do
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', '(' .. VIRTUAL_SCORES, 'LIMIT', 0, 2)) do
            see(flow_of(payload_of(member)))
        end
    end
    return found > 1
end

-- One of the idle workers looks when the next time comes, not all of them. Returns false if another one does.
local function takes_alarm(due_in)
    local at, who = string.match(redis.call('GET', group .. ':alarm') or '', '^(%d+) (.*)$')
    if who and who ~= worker and tonumber(at) <= now + due_in and tonumber(at) >= now - 50 then return false end
    redis.call('SET', group .. ':alarm', string.format('%d ', now + due_in) .. worker, 'PX', due_in + 1000)
    return true
end

let_back()
local wanted, left, reserve = call.kept, 0, call.kept
for i, share in ipairs(call.shares) do
    line_up(KEYS[i])
    wanted = wanted + share
    left = left + share - take(i, share, VIRTUAL_SCORES)
end
for i = 1, #KEYS do
    if left > 0 then left = left - take(i, left, VIRTUAL_SCORES) end
    if reserve > 0 then reserve = reserve - take(i, reserve, service(KEYS[i])) end
end
for flow, members in pairs(taken) do occupy(flow, members, lease_ms) end
for flow, count in pairs(in_use) do
    if count > 0 then runs(flow, lease_ms) end
end
local due_in = next_due()
local contested = call.counts_flows and is_contested()
if #claimed < 3 * wanted and worker ~= '' then
    if due_in >= 0 and due_in <= SOON_MS and not takes_alarm(due_in) then due_in = -1 end
    is_idle(group, worker, math.max(0, room(#KEYS) - call.kept) + rooms[1] / 1000000)
end
if parked >= MAX_PARKED then due_in = 0 end
return {due_in, contested and 1 or 0, full, claimed}
