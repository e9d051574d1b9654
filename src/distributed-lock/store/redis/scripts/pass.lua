--[[
  Asks whether another process waits. If so it goes next and this process is queued again; else the turn goes on.

  KEYS[1]  lock
  KEYS[2]  fence
  KEYS[3]  waiting
  ARGV[1]  owner
  ARGV[2]  lease, milliseconds
  ARGV[3]  process
  ARGV[4]  highest turn number the process has seen
  ARGV[5]  prefix of inbox channels
  ARGV[6]  message: the key
  ARGV[7]  patience, microseconds
  ARGV[8]  claim, milliseconds
  ARGV[9]  '0' if receivers of a message cannot be counted

  Returns  {2, since}  passed on; the process is queued since then
           {1, turn}   nobody waits: a new turn of the same owner
           {0}         not held by this owner; nothing changed
]]
local owner, lease, process = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local current = redis.call('GET', KEYS[1])
if not current or owner_of(current) ~= owner then return { 0 } end

redis.call('ZREM', KEYS[3], process)
-- Popped and published before the key is touched: dead processes in the queue do not end the turn.
if hand_over(KEYS[1], KEYS[3], ARGV[5], ARGV[6], ARGV[7], ARGV[8], ARGV[9]) then
  return { 2, queue_last(KEYS[3], process) }
end
return { 1, start_turn(KEYS[1], KEYS[2], owner, math.max(lease, redis.call('PTTL', KEYS[1])), ARGV[4]) }
