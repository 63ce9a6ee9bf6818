"""The Lua that speaks arq's protocol, a batch at a time. Time is Redis's own, so a worker's clock can't matter.

The in-progress key holds a token for each acquisition, where stock arq writes `1` and only asks whether it exists.
The score moves to the lease's end on claim, where stock arq leaves it; a stock worker then sees a job that is not
due. Keys are built inside the scripts, as arq's own are: not for Redis Cluster (arq is not either).
"""

from typing import Final

from core.queue.keys import IN_PROGRESS, PAYLOAD

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""

# KEYS: lane.  ARGV: wake channel, wake message, payload life ms, then (member, delay ms, payload) for each. A negative
# delay puts the member before those that wait.
# PostgreSQL says that the member waits, so whoever holds it in Redis does so no longer: its token goes.
RING: Final = (
    _NOW
    + f"""
for i = 4, #ARGV, 3 do
    local delay = tonumber(ARGV[i + 1])
    redis.call('SET', '{PAYLOAD}' .. ARGV[i], ARGV[i + 2], 'PX', math.max(0, delay) + ARGV[3])
    redis.call('DEL', '{IN_PROGRESS}' .. ARGV[i])
    redis.call('ZADD', KEYS[1], now + delay, ARGV[i])
end
redis.call('PUBLISH', ARGV[1], ARGV[2])
"""
)

# KEYS: lanes in order of preference.  ARGV: token, lease ms, then the share of each lane.
# Answers [ms until something is due (-1: nothing is), then (lane's index, member, payload) for each].
CLAIM: Final = (
    _NOW
    + f"""
local token, lease = ARGV[1], tonumber(ARGV[2])
local claimed = {{}}
local function take(index, wanted)
    local lane, got = KEYS[index], 0
    while got < wanted do
        local due = redis.call('ZRANGEBYSCORE', lane, '-inf', now, 'LIMIT', 0, wanted - got)
        if #due == 0 then break end
        for _, member in ipairs(due) do
            if redis.call('SET', '{IN_PROGRESS}' .. member, token, 'NX', 'PX', lease) then
                redis.call('ZADD', lane, 'XX', now + lease, member)
                local body = redis.pcall('GET', '{PAYLOAD}' .. member)
                claimed[#claimed + 1] = index - 1
                claimed[#claimed + 1] = member
                claimed[#claimed + 1] = type(body) == 'string' and body or ''
                got = got + 1
            else
                -- A holder without an end would hold for ever, whoever wrote it.
                if redis.call('PTTL', '{IN_PROGRESS}' .. member) == -1 then
                    redis.call('PEXPIRE', '{IN_PROGRESS}' .. member, lease)
                end
                redis.call('ZADD', lane, 'XX', now + 1000, member)
            end
        end
    end
    return got
end
local left = 0
for i = 1, #KEYS do
    local share = tonumber(ARGV[2 + i])
    left = left + share - take(i, share)
end
for i = 1, #KEYS do
    if left > 0 then left = left - take(i, left) end
end
local due_in = -1
for _, lane in ipairs(KEYS) do
    local first = redis.call('ZRANGE', lane, 0, 0, 'WITHSCORES')
    if first[2] and (due_in < 0 or first[2] - now < due_in) then due_in = math.max(0, first[2] - now) end
end
return {{due_in, unpack(claimed)}}
"""
)

# KEYS: none.  ARGV: wake channel, wake message, then (lane key, member, token, delay ms or '') for each.
# Only the token's holder may finish: a member that was rung again since stays for its next run. One that nobody holds
# (Redis lost its memory) still gets the later run that it asks for. Answers how many were held.
FINISH: Final = (
    _NOW
    + f"""
local finished, due_now = 0, false
for i = 3, #ARGV, 4 do
    local lane, member, token, delay = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local holder = redis.call('GET', '{IN_PROGRESS}' .. member)
    if holder == token then
        redis.call('DEL', '{IN_PROGRESS}' .. member)
        finished = finished + 1
        if delay ~= '' then
            redis.call('ZADD', lane, now + delay, member)
        else
            redis.call('ZREM', lane, member)
            redis.call('DEL', '{PAYLOAD}' .. member)
        end
    elseif not holder and delay ~= '' then
        redis.call('ZADD', lane, 'NX', now + delay, member)
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
