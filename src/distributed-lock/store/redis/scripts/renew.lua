--[[
  Extends leases. A key whose value is not exactly the turn and owner given is left alone: an owner whose key was lost and
  made anew by a late copy of its own command has an older token and must not be confirmed.

  KEYS[n]      lock
  ARGV[2n-1]   <turn>:<owner>
  ARGV[2n]     lease, milliseconds; each key has its own, and none is shortened

  Returns  per key  1  held, lasts at least the lease from now
                    0  gone, or another owner's
]]
local answers = {}
for n, lock in ipairs(KEYS) do
  local lease = tonumber(ARGV[2 * n])
  if redis.call('GET', lock) == ARGV[2 * n - 1] then
    if redis.call('PTTL', lock) < lease then redis.call('PEXPIRE', lock, lease) end
    answers[n] = 1
  else
    answers[n] = 0
  end
end
return answers
