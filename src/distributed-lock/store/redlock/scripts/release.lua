--[[
  Frees a key, only for the owner that has it.

  KEYS[1]  lock
  ARGV[1]  owner

  Returns  1  freed
           0  not this owner's: gone, or another's; nothing changed
]]
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
