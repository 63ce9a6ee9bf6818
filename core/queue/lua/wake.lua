-- Idle workers are in a sorted set, by how many slots they have open; each listens on a channel of its own. As many are
-- woken as there is new work. One that nobody hears on its channel is gone, and the next is asked. The set has an empty
-- member, the last: without it Redis has forgotten who is idle, and all are woken.
local IDLE_LIFE_MS = 60000
-- Workers that died without a word are met and dropped, so many in one call.
local DEAD_IDLE = 50

local function wake(group, count)
    local idle, tries = group .. ':idle', count + DEAD_IDLE
    while count > 0 and tries > 0 do
        local worker = redis.call('ZRANGE', idle, -1, -1)[1]
        if worker == '' then return end
        if not worker then
            redis.call('ZADD', idle, -1, '')
            redis.call('PEXPIRE', idle, IDLE_LIFE_MS)
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
    redis.call('PEXPIRE', group .. ':idle', IDLE_LIFE_MS)
end
