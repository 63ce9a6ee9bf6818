-- Start-time fair queueing (Goyal, Vin, Cheng 1996): what waits has a tag of virtual time as its score, far below every
-- real time. Each flow (a tenant) counts its own tags from where service stands, so a flood waits behind itself alone.
-- Whoever has fallen behind service waits half a tag before it: that is how a kept slot tells who asks for little.
-- The tags live beside the lane until nothing waits in it; lost, they begin anew and nobody waits longer for it.
-- include: now.lua
local FRONT = 0
local TAGS_LIFE_MS = 86400000

-- Where service stands in the lane.
local function service(lane)
    return math.max(1, tonumber(redis.call('HGET', lane .. ':tags', 'served') or 0))
end

-- The tag of a flow that begins at `start`, when its own tags stand at `own` and service at `at`.
local function tag_of(own, at)
    local start = math.max(at, own)
    return own < at and start - 0.5 or start, start + 1
end

-- The next tag of the flow, from its line of retries.
local function retry_tag(lane, flow)
    local flows = lane .. ':tags:again'
    local tag, following = tag_of(tonumber(redis.call('HGET', flows, flow) or 0), service(lane))
    redis.call('HSET', flows, flow, following)
    redis.call('PEXPIRE', flows, TAGS_LIFE_MS)
    return tag
end

-- Notes that service has come as far as `score`.
local function served(lane, score)
    local tags = lane .. ':tags'
    if redis.call('ZCOUNT', lane, '-inf', '(' .. VIRTUAL_SCORES) == 0 then
        redis.call('DEL', tags, tags .. ':again')
    elseif score > service(lane) then
        redis.call('HSET', tags, 'served', score)
        redis.call('PEXPIRE', tags, TAGS_LIFE_MS)
    end
end
