--[[
  Ends a turn and keeps the key closed: nobody has it, and nobody gets it, until the time is over. Tells every waiting process, so that
  each looks again then; they keep their places.

  KEYS[1]  lock
  KEYS[2]  waiting
  ARGV[1]  owner
  ARGV[2]  how long, milliseconds
  ARGV[3]  process; '' neither queues nor wakes
  ARGV[4]  prefix of inbox channels
  ARGV[5]  message: the key
  ARGV[6]  '0' if receivers of a message cannot be counted

  Returns  1  the key was this owner's, and is closed
           0  it was not; nothing changed
]]
local current, process = redis.call('GET', KEYS[1]), ARGV[3]
if not current or owner_of(current) ~= ARGV[1] then return 0 end

-- When the server is out of memory the owner's value has to stay: closed all the same, and for as long.
if redis.pcall('SET', KEYS[1], 'k:', 'PX', ARGV[2]).err then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
if process == '' then return 1 end

local places = {}
while true do
  local first = redis.call('ZPOPMIN', KEYS[2])
  if not first[1] then break end
  local listens = first[1] == process or call(ARGV[4], first[1], ARGV[2] + 1, ARGV[5]) > 0
  if listens or ARGV[6] == '0' then table.insert(places, first) end
end
for _, place in ipairs(places) do redis.call('ZADD', KEYS[2], place[2], place[1]) end
if #places > 0 then redis.call('PEXPIRE', KEYS[2], 600000) end
return 1
