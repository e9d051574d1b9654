--[[
  Extends leases of the line. One that is over, or whose turn is not exactly the one given, is left alone.

  KEYS[2n-1]  lock
  KEYS[2n]    holders
  ARGV[3n-2]  what the lock key must hold: <turn>:<owner>, or q:<kind>
  ARGV[3n-1]  owner
  ARGV[3n]    lease, milliseconds; each has its own, and none is shortened

  Returns  per hold  1  held, lasts at least the lease from now
                     0  gone, or another owner's
]]
local answers = {}
local now = math.floor(microseconds() / 1000)
for n = 1, #KEYS / 2 do
  local line = { lock = KEYS[2 * n - 1], held = KEYS[2 * n], now = now }
  local value, owner, lease = ARGV[3 * n - 2], ARGV[3 * n - 1], tonumber(ARGV[3 * n])
  local kind = string.match(value, '^q:(%a)$')
  local ends = kind and tonumber(redis.call('ZSCORE', line.held, owner) or '0')
  answers[n] = 0
  if redis.call('GET', line.lock) ~= value then
    -- Somebody else's.
  elseif not kind then
    if redis.call('PTTL', line.lock) < lease then redis.call('PEXPIRE', line.lock, lease) end
    answers[n] = 1
  elseif ends > now then
    if ends < now + lease then
      -- The first write: allowed even when the server is out of memory. How long they are kept is counted right after.
      redis.call('PEXPIRE', line.held, lease)
      redis.call('ZADD', line.held, digits(now + lease), owner)
      keep_until_last(line, kind)
    end
    answers[n] = 1
  end
end
return answers
