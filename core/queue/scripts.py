"""The Lua that speaks arq's protocol, a batch at a time. Time is Redis's own, so a worker's clock can't matter.

The in-progress key holds a token for each acquisition, where stock arq writes `1` and only asks whether it exists.
The score moves to the lease's end on claim, where stock arq leaves it; a stock worker then sees a job that is not
due. Keys are built inside the scripts, as arq's own are: not for Redis Cluster (arq is not either).
"""

from typing import Final

from core.queue.fragments import BUSY, FAIR, NOW, PARK, WAKE
from core.queue.keys import IN_PROGRESS, PAYLOAD

# In one claim and lane: what is due beyond it gets its tag in the next one.
MAX_LINED_UP: Final = 500
# In one claim, of what its flow has no slots for; and how much of a flow's is let back at once when a cap has risen.
MAX_PARKED: Final = 500
MAX_UNPARKED: Final = 200
# An idle worker looks again for a time as near as this; the tick covers what is further.
_SOON_MS: Final = 1000

# KEYS: lanes in order of preference.  ARGV: token, lease ms, group, worker ('' for one that nobody wakes), slots kept
# free, whether flows are counted (1 or 0), a flow's cap (-1: none), the flows' own caps as JSON or '', then the share
# of each lane, then for each lane how many may be taken from it and all after it.
# A slot that is kept free takes nothing but what has fallen behind service: a tenant that asks for little.
# What had a time and is due gets a tag first, in a flow of its tenant's own: a retry does not wait behind the tenant's
# whole backlog, and many of them do not stand before everybody else's.
# Answers [ms until the next time comes (-1: none will, or another worker looks then), whether two flows or more run or
# wait (1 or 0), whether Redis is out of memory (1 or 0), then (lane's index, member, payload) for each].
CLAIM: Final = (
    FAIR
    + WAKE
    + """
local token, lease, group, worker = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local kept, counted, cap = tonumber(ARGV[5]), ARGV[6] == '1', tonumber(ARGV[7])
local caps = ARGV[8] ~= '' and cjson.decode(ARGV[8]) or {}
-- Asked before the first write: a script that has written may go on without new memory being refused, and a claim must
-- not be, or a Redis that is full of the queue could never be emptied.
local full = redis.pcall('ZADD', group .. ':idle', 'XX', -1, '')
full = type(full) == 'table' and string.find(full.err, 'OOM', 1, true) and 1 or 0
redis.call('ZREM', group .. ':idle', worker)
"""
    + BUSY
    + PARK
    + f"""
local claimed, rooms, in_use, taken, parked, wanted = {{}}, {{}}, {{}}, {{}}, 0, kept
for i = 1, #KEYS do
    wanted = wanted + ARGV[8 + i]
    rooms[i] = tonumber(ARGV[8 + #KEYS + i])
end
local function room(index)
    local least = rooms[1]
    for i = 2, index do least = math.min(least, rooms[i]) end
    return least
end
local function is_capped(flow)
    local most = caps[flow] or cap
    if not in_use[flow] then in_use[flow] = busy(flow) end
    return most >= 0 and in_use[flow] >= most
end
local function put_off_if_held(lane, member)
    local left = redis.call('PTTL', '{IN_PROGRESS}' .. member)
    if left == -2 then return false end
    -- A holder without an end would hold for ever, whoever wrote it.
    -- guard: foreign-hold-expires
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
            redis.call('ZADD', lane, tag(lane, flow_of(body_of(member)), ':again'), member)
        end
    end
end
local function take(index, most, below)
    local lane, got, last = KEYS[index], 0, FRONT
    most = math.min(most, room(index))
    while got < most and parked < {MAX_PARKED} do
        local ahead = most - got + math.min(parked, 50)
        local due = redis.call('ZRANGEBYSCORE', lane, '-inf', '(' .. below, 'WITHSCORES', 'LIMIT', 0, ahead)
        if #due == 0 then break end
        local keys, moved = {{}}, {{}}
        for i = 1, #due, 2 do keys[#keys + 1] = '{PAYLOAD}' .. due[i] end
        local bodies = redis.call('MGET', unpack(keys))
        for i = 1, #due, 2 do
            if got == most then break end
            local member, body = due[i], bodies[(i + 1) / 2] or ''
            local flow = counted and flow_of(body) or ''
            if flow ~= '' and is_capped(flow) then
                if not put_off_if_held(lane, member) then
                    park(lane, flow, member, due[i + 1])
                    parked = parked + 1
                end
            -- guard: hold-taken-once
            -- guard: hold-expires
            elseif redis.call('SET', '{IN_PROGRESS}' .. member, token, 'NX', 'PX', lease) then
                moved[#moved + 1] = now + lease
                moved[#moved + 1] = member
                if flow ~= '' then
                    taken[flow] = taken[flow] or {{}}
                    table.insert(taken[flow], member)
                    in_use[flow] = in_use[flow] + 1
                end
                claimed[#claimed + 1] = index - 1
                claimed[#claimed + 1] = member
                claimed[#claimed + 1] = body
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
for _, flow in ipairs(redis.call('ZRANGEBYSCORE', group .. ':parked', '-inf', now, 'LIMIT', 0, 3)) do
    local most = counted and (caps[flow] or cap) or -1
    local free = most < 0 and {MAX_UNPARKED} or math.min({MAX_UNPARKED}, most - busy(flow))
    redis.call('ZADD', group .. ':parked', 'XX', now + 500, flow)
    if free > 0 then unpark(flow, free) end
end
local left = 0
for i = 1, #KEYS do
    line_up(KEYS[i])
    local share = tonumber(ARGV[8 + i])
    left = left + share - take(i, share, VIRTUAL)
end
local reserve = kept
for i = 1, #KEYS do
    if left > 0 then left = left - take(i, left, VIRTUAL) end
    if reserve > 0 then reserve = reserve - take(i, reserve, service(KEYS[i])) end
end
for flow, members in pairs(taken) do occupy(flow, members, lease) end
for flow, count in pairs(in_use) do
    if count > 0 then runs(flow, lease) end
end
local due_in, flows, found = -1, {{}}, 0
local function see(flow)
    if flow ~= '' and not flows[flow] then flows[flow], found = true, found + 1 end
end
for _, lane in ipairs(KEYS) do
    local first = redis.call('ZRANGEBYSCORE', lane, VIRTUAL, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    if first[2] and (due_in < 0 or first[2] - now < due_in) then due_in = math.max(0, first[2] - now) end
end
if counted then
    for _, flow in ipairs(redis.call('ZRANGEBYSCORE', group .. ':flows', now, '+inf', 'LIMIT', 0, 2)) do see(flow) end
    for i = 1, found < 2 and #KEYS or 0 do
        for _, member in ipairs(redis.call('ZRANGEBYSCORE', KEYS[i], '-inf', '(' .. VIRTUAL, 'LIMIT', 0, 2)) do
            see(flow_of(body_of(member)))
        end
    end
end
if #claimed < 3 * wanted and worker ~= '' then
    if due_in >= 0 and due_in <= {_SOON_MS} then
        -- One of the idle workers looks when the next time comes, not all of them.
        local at, who = string.match(redis.call('GET', group .. ':alarm') or '', '^(%d+) (.*)$')
        if who and who ~= worker and tonumber(at) <= now + due_in and tonumber(at) >= now - 50 then
            due_in = -1
        else
            redis.call('SET', group .. ':alarm', string.format('%d ', now + due_in) .. worker, 'PX', due_in + 1000)
        end
    end
    local open = math.max(0, room(#KEYS) - kept)
    is_idle(group, worker, open + rooms[1] / 1000000)
end
if parked >= {MAX_PARKED} then due_in = 0 end
return {{due_in, found > 1 and 1 or 0, full, unpack(claimed)}}
"""
)

# KEYS: lanes in order of preference.  ARGV: group, whether the worker takes no more (1 or 0), then (lane key, member,
# token, delay ms or '', flow or '' when flows are not counted) for each.
# Only the token's holder may finish: a member that was enqueued again since stays for its next run. One that nobody
# holds (Redis lost its memory) still gets the later run that it asks for. Returns how many came back to their lanes
# because a slot of their flow's is free.
FINISH: Final = (
    NOW
    + WAKE
    + "local group = ARGV[1]"
    + BUSY
    + PARK
    + f"""
local unparked, for_others = 0, 0
local parking = redis.call('EXISTS', group .. ':parked') == 1
-- A negative delay is before all that waits.
local function later(delay) return tonumber(delay) < 0 and 0 or now + delay end
local keys, ended, over, freed = {{}}, {{}}, {{}}, {{}}
for i = 3, #ARGV, 5 do keys[#keys + 1] = '{IN_PROGRESS}' .. ARGV[i + 1] end
local holders = #keys > 0 and redis.call('MGET', unpack(keys)) or {{}}
local function add(lists, name, member)
    lists[name] = lists[name] or {{}}
    table.insert(lists[name], member)
end
for i = 3, #ARGV, 5 do
    local lane, member, token, delay, flow = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
    local holder = holders[(i + 2) / 5]
    -- guard: finish-own-hold
    if holder == token then
        ended[#ended + 1] = '{IN_PROGRESS}' .. member
        if delay ~= '' then
            redis.call('ZADD', lane, later(delay), member)
        else
            add(over, lane, member)
            ended[#ended + 1] = '{PAYLOAD}' .. member
        end
    elseif not holder and delay ~= '' then
        redis.call('ZADD', lane, 'NX', later(delay), member)
    end
    if flow ~= '' and (holder == token or not holder) then add(freed, flow, member) end
    if delay ~= '' and tonumber(delay) <= 0 then for_others = for_others + 1 end
end
if #ended > 0 then redis.call('DEL', unpack(ended)) end
for lane, members in pairs(over) do redis.call('ZREM', lane, unpack(members)) end
for flow, members in pairs(freed) do
    release(flow, unpack(members))
    if parking then unparked = unparked + unpark(flow, #members) end
end
-- The worker whose slots these were claims next, unless it is on its way out.
wake(group, for_others + unparked * ARGV[2])
return unparked
"""
)

# KEYS: none.  ARGV: lease ms, payload life ms, group, then (lane key, member, token, flow or '') for each.
# Answers how many are still held.
HEARTBEAT: Final = (
    NOW
    + "local group = ARGV[3]"
    + BUSY
    + f"""
local lease, renewed, running = tonumber(ARGV[1]), 0, {{}}
for i = 4, #ARGV, 4 do
    local lane, member, token, flow = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    -- guard: renew-own-hold
    if redis.call('GET', '{IN_PROGRESS}' .. member) == token then
        redis.call('PEXPIRE', '{IN_PROGRESS}' .. member, lease)
        redis.call('PEXPIRE', '{PAYLOAD}' .. member, lease + ARGV[2])
        redis.call('ZADD', lane, 'XX', now + lease, member)
        renewed = renewed + 1
        if flow ~= '' then
            running[flow] = running[flow] or {{}}
            table.insert(running[flow], member)
        end
    end
end
for flow, members in pairs(running) do
    occupy(flow, members, lease)
    runs(flow, lease)
end
return renewed
"""
)

# KEYS: none.  ARGV: group, worker. A worker that claims no more is not woken, and whom it may have kept from waking is.
LEAVE: Final = (
    WAKE
    + """
if redis.call('ZREM', ARGV[1] .. ':idle', ARGV[2]) == 0 then wake(ARGV[1], 1) end
"""
)
