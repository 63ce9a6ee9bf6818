-- Ends holds; KEYS are the worker's lanes. Only the token's holder may finish: a member that was enqueued again since
-- stays for its next run. One that nobody holds (Redis lost its memory) still gets the later run that it asks for.
-- Returns how many came back to their lanes because a slot of their flow's is free.
local call = cjson.decode(ARGV[1])
local group = call.group
-- include: wake.lua
-- include: busy.lua
-- include: park.lua
local unparked, for_others = 0, 0
local parking = redis.call('EXISTS', group .. ':parked') == 1
local keys, ended, over, freed = {}, {}, {}, {}
for i, row in ipairs(call.rows) do keys[i] = IN_PROGRESS .. row.member end
local holders = #keys > 0 and redis.call('MGET', unpack(keys)) or {}
for i, row in ipairs(call.rows) do
    local member, holder = row.member, holders[i]
    local again = row.again ~= 'done'
    local score = row.again == 'front' and 0 or now + row.delay_ms
    -- guard: finish-own-hold
    if holder == row.token then
        ended[#ended + 1] = IN_PROGRESS .. member
        if again then
            redis.call('ZADD', row.lane, score, member)
        else
            add(over, row.lane, member)
            ended[#ended + 1] = PAYLOAD .. member
        end
    elseif not holder and again then
        redis.call('ZADD', row.lane, 'NX', score, member)
    end
    if row.flow ~= '' and (holder == row.token or not holder) then add(freed, row.flow, member) end
    if again and score <= now then for_others = for_others + 1 end
end
if #ended > 0 then redis.call('DEL', unpack(ended)) end
for lane, members in pairs(over) do redis.call('ZREM', lane, unpack(members)) end
for flow, members in pairs(freed) do
    release(flow, unpack(members))
    if parking then unparked = unparked + unpark(flow, #members) end
end
-- The worker whose slots these were claims next, unless it is leaving.
wake(group, for_others + (call.leaving and unparked or 0))
return unparked
