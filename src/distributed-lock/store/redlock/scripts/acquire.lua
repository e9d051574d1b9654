--[[
  A vote of this server: takes the key if it is free. Idempotent by owner.

  KEYS[1]  lock
  ARGV[1]  owner; a new one for each attempt
  ARGV[2]  lease, milliseconds

  Returns  {1}          the key is the owner's, for at least ARGV[2] from now
           {0, holder}  it is another owner's
]]
local owner, lease = ARGV[1], tonumber(ARGV[2])
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= owner then return { 0, holder } end
-- Never shortens: a late copy of an old command must not cut a lease that was renewed since.
if not holder then
  redis.call('SET', KEYS[1], owner, 'PX', lease)
elseif redis.call('PTTL', KEYS[1]) < lease then
  redis.call('PEXPIRE', KEYS[1], lease)
end
return { 1 }
