--[[
  Extends leases; never makes a key.

  KEYS[n]      lock
  ARGV[2n-1]   owner
  ARGV[2n]     lease, milliseconds; none is shortened

  Returns  per key   1  held, lasts at least the lease from now
                     0  gone
                    -1  another owner's
]]
local answers = {}
for n, lock in ipairs(KEYS) do
  local holder, lease = redis.call('GET', lock), tonumber(ARGV[2 * n])
  if holder == ARGV[2 * n - 1] then
    if redis.call('PTTL', lock) < lease then redis.call('PEXPIRE', lock, lease) end
    answers[n] = 1
  else
    answers[n] = holder and -1 or 0
  end
end
return answers
