--[[
  Frees a key, only for the owner that has it; or keeps it closed for a while first, though nobody has it.

  KEYS[1]  lock
  ARGV[1]  owner
  ARGV[2]  how long it is kept closed, milliseconds; '0' frees it

  Returns  1  it was this owner's
           0  not this owner's: gone, or another's; nothing changed
]]
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '0' then return redis.call('DEL', KEYS[1]) end
-- When the server is out of memory the owner's value has to stay: closed all the same, and for as long.
if redis.pcall('SET', KEYS[1], 'kept', 'PX', ARGV[2]).err then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
