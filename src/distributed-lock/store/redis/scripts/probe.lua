--[[
  Tries every command that the other scripts use, so that a missing permission is found at boot, not in the middle of a
  hand-over. Leaves nothing behind.

  KEYS[1]  lock: a key that nobody uses
  KEYS[2]  waiting, of the same
  ARGV[1]  '1' if the process queues and wakes
  ARGV[2]  channel that nobody listens to

  Returns  {command, error, command, error, …}  of those that failed; {} if all is well
]]
local failed = {}
local function try(command, ...)
  local reply = redis.pcall(command, ...)
  if type(reply) ~= 'table' or not reply.err then return end
  table.insert(failed, command)
  table.insert(failed, reply.err)
end

try('TIME')
try('SET', KEYS[1], '', 'PX', 1000)
try('GET', KEYS[1])
try('PTTL', KEYS[1])
try('PEXPIRE', KEYS[1], 1000)
try('ZADD', KEYS[2], 'NX', 0, '')
try('ZSCORE', KEYS[2], '')
try('ZRANGE', KEYS[2], 0, 0)
try('ZCARD', KEYS[2])
try('ZREM', KEYS[2], '')
try('ZREMRANGEBYSCORE', KEYS[2], 0, 0)
if ARGV[1] == '1' then
  try('ZPOPMIN', KEYS[2])
  try('PUBLISH', ARGV[2], '')
end
try('DEL', KEYS[1])
return failed
