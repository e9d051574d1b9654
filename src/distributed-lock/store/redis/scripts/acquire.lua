--[[
  Takes a free key for a turn, or queues the process.
  Idempotent by owner: asked again after a lost reply, it answers the same turn.

  KEYS[1]  lock
  KEYS[2]  fence: number of the last turn
  KEYS[3]  waiting: processes by the time since when they wait (microseconds)
  ARGV[1]  owner
  ARGV[2]  lease, milliseconds
  ARGV[3]  process; '' neither queues nor wakes
  ARGV[4]  '1' queues the process if the key is busy
  ARGV[5]  '1' if further callers of the process wait behind this one
  ARGV[6]  highest turn number the process has seen
  ARGV[7]  since when the process waits, from a former answer; '0' if it does not yet

  Returns  {1, turn}                    granted; the lease lasts at least ARGV[2] from now
           {0, pttl, holder, since}     busy; pttl as PTTL answers it; since '0' if not queued
]]
local owner, lease, process = ARGV[1], tonumber(ARGV[2]), ARGV[3]
local current = redis.call('GET', KEYS[1])

if current and owner_of(current) == owner then
  -- Never shortens: a late copy of an old command must not cut a lease that was renewed since.
  if redis.call('PTTL', KEYS[1]) < lease then redis.call('PEXPIRE', KEYS[1], lease) end
  return { 1, turn_of(current) }
end

if current and current ~= 'r:' .. process then
  local since = '0'
  if ARGV[4] == '1' then
    since = ARGV[7] ~= '0' and ARGV[7] or digits(microseconds())
    -- Under memory pressure the place is refused; "busy" is still the answer, and the caller looks again by itself.
    local queued = redis.pcall('ZADD', KEYS[3], 'NX', since, process)
    if type(queued) == 'number' then
      redis.pcall('PEXPIRE', KEYS[3], 600000)
      since = redis.call('ZSCORE', KEYS[3], process)
    end
  end
  return { 0, redis.call('PTTL', KEYS[1]), owner_of(current), since }
end

local turn = start_turn(KEYS[1], KEYS[2], owner, lease, ARGV[6])
if ARGV[5] == '1' then
  redis.call('ZADD', KEYS[3], 'NX', digits(microseconds()), process)
  redis.call('PEXPIRE', KEYS[3], 600000)
elseif process ~= '' then
  redis.call('ZREM', KEYS[3], process)
end
return { 1, turn }
