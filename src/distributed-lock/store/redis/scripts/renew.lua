--[[
  Extends leases. A key whose value is not exactly the turn and owner given is left alone: an owner whose key was lost and
  made anew by a late copy of its own command has an older token and must not be confirmed. A turn that was offered is confirmed.

  KEYS[n]      lock
  ARGV[1]      lease, milliseconds, where a key does not have its own; none is shortened
  ARGV[n+1]    <turn>:<owner>, or <lease> <turn>:<owner>

  Returns  the positions of those that are gone, or another owner's: hardly ever one. The others last at least their lease from now
]]
local gone = {}
for n, lock in ipairs(KEYS) do
  local value, lease = ARGV[n + 1], ARGV[1]
  if string.find(value, ' ', 1, true) then
    lease, value = string.match(value, '^(%d+) (.*)$')
  end
  local current = redis.call('GET', lock)
  if current == 'r:' .. owner_of(value) then
    redis.call('SET', lock, value, 'PX', math.max(lease, redis.call('PTTL', lock)))
  elseif current ~= value then
    gone[#gone + 1] = n
  elseif redis.call('PTTL', lock) < tonumber(lease) then
    redis.call('PEXPIRE', lock, lease)
  end
end
return gone
