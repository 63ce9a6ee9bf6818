-- `now`: milliseconds of Redis's own clock, so a worker's clock can't matter.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
