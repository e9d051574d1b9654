--[[
  Ends a turn and wakes the next process. Also undoes an acquire of unknown outcome, takes a process that has no callers
  left out of the queue, and (owner '') passes on a wake-up that nobody needed.

  KEYS[1]  lock
  KEYS[2]  waiting
  ARGV[1]  owner; '' owns nothing
  ARGV[2]  process; '' neither queues nor wakes
  ARGV[3]  '1' if callers of the process still wait
  ARGV[4]  prefix of inbox channels
  ARGV[5]  message: the key
  ARGV[6]  patience, microseconds
  ARGV[7]  claim, milliseconds
  ARGV[8]  '0' if receivers of a message cannot be counted

  Returns  {held, woke}   held 1: the key was this owner's; 0: there was no key; -1: it is another owner's, nothing changed
                          woke 1: a waiting process was woken
]]
local owner, process, more = ARGV[1], ARGV[2], ARGV[3] == '1'
local current = redis.call('GET', KEYS[1])
local held = current and owner ~= '' and owner_of(current) == owner
local reserved = current == 'r:' .. process

if current and not held and not reserved then
  local left = not more and process ~= '' and redis.call('ZREM', KEYS[2], process) == 1
  -- It stood between the holders and callers that they tolerate.
  if left and string.sub(current, 1, 2) == 'q:' then admit(line_of(KEYS[1], KEYS[2], ARGV[4], ARGV[5], ARGV[8], ARGV[7])) end
  return { -1, 0 }
end
-- Reserved for this process, and its next caller is about to use it.
if reserved and more then return { 0, 0 } end

-- The first write: allowed even when the server is out of memory.
if current then redis.call('DEL', KEYS[1]) end
if process == '' then return { held and 1 or 0, 0 } end

if more then
  -- After a turn to the end of the queue; otherwise where it stands.
  if held or not redis.call('ZSCORE', KEYS[2], process) then queue_last(KEYS[2], process) end
else
  redis.call('ZREM', KEYS[2], process)
end
local woken = hand_over(KEYS[1], KEYS[2], ARGV[4], ARGV[5], ARGV[6], ARGV[7], ARGV[8])
return { held and 1 or 0, woken and 1 or 0 }
