--[[
  Who holds a key, and who waits for it. Changes nothing.

  KEYS[1]  lock
  KEYS[2]  waiting
  ARGV[1]  process that asks

  Returns  {value, pttl, waiting, owner, left, owner, left, …}
    value    of the lock key; '' if there is none
    pttl     of it, as PTTL answers it
    waiting  places in the queue, without that of the process that asks
    owner    of each holder that is not alone; left: until its lease ends, milliseconds
]]
local current = redis.call('GET', KEYS[1]) or ''
local places = redis.call('ZCARD', KEYS[2])
if redis.call('ZSCORE', KEYS[2], ARGV[1]) then places = places - 1 end
local answer = { current, redis.call('PTTL', KEYS[1]), places }
if not string.match(current, '^q:') then return answer end

local line = line_of(KEYS[1], KEYS[2], '', '', '1', '0')
local held = redis.call('ZRANGE', line.held, 0, -1, 'WITHSCORES')
for n = 1, #held, 2 do
  local left = tonumber(held[n + 1]) - line.now
  if left > 0 then
    table.insert(answer, held[n])
    table.insert(answer, left)
  end
end
return answer
