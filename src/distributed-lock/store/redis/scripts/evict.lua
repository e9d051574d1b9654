--[[
  Ends every hold of a key, whoever has it, tells the processes that had them, and lets in whoever goes next. Opens a key that is kept
  closed. A key that is reserved for a process that was woken is held by nobody, and stays reserved; one that was offered a turn may be inside.

  KEYS[1]  lock
  KEYS[2]  waiting
  ARGV[1]  prefix of inbox channels; '' where nobody is called
  ARGV[2]  message: the key
  ARGV[3]  '0' if receivers of a message cannot be counted
  ARGV[4]  claim, milliseconds

  Returns  the owner ids of the holds that were ended
]]
local line = line_of(KEYS[1], KEYS[2], ARGV[1], ARGV[2], ARGV[3], ARGV[4])
put_out_the_late(line)
local current = redis.call('GET', line.lock)
if not current or string.find(current, '^r:[^:]*$') then return {} end

local evicted = {}
if string.match(current, '^q:') then
  evicted = redis.call('ZRANGE', line.held, 0, -1)
elseif current ~= 'k:' then
  evicted = { owner_of(current) }
end
redis.call('DEL', line.lock, line.held)
for _, owner in ipairs(evicted) do
  local process = string.match(owner, '^[^:]*')
  -- A turn: its process does not know yet that it has none, so it is not the one to be woken; its callers queue again once it is told.
  redis.call('ZREM', line.waiting, process)
  -- Heard on the second channel of a process; `-1` is no time to look.
  if line.inbox ~= '' then
    local channel = string.gsub(process, '%.line$', '') .. '.line'
    redis.call('PUBLISH', line.inbox .. channel, '-1 ' .. owner .. ' ' .. line.message)
  end
end
admit(line)
return evicted
