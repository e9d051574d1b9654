--[[
  Lets a caller in, or gives it a place in the line. Idempotent by owner: asked again, it answers the same hold; a caller that was let in
  by another's leaving confirms that way, and gets its whole lease.

  KEYS[1]   lock
  KEYS[2]   waiting
  ARGV[1]   kind: x, s, p
  ARGV[2]   limit of p; else ''
  ARGV[3]   owner
  ARGV[4]   lease, milliseconds
  ARGV[5]   '1' keeps a place in the line
  ARGV[6]   since when it stands in the line, from a former answer; '0' if it does not yet
  ARGV[7]   highest turn number the process has seen
  ARGV[8]   prefix of inbox channels; '' where nobody is called
  ARGV[9]   message: the key
  ARGV[10]  '0' if receivers of a message cannot be counted
  ARGV[11]  claim, milliseconds

  Returns  {1, turn}                    inside for at least ARGV[4] from now; turn '' for s and p
           {0, pttl, holder, since}     not yet; pttl until the first lease ends, as PTTL answers it; since '0' without a place
]]
local kind, limit, owner, lease, seen = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[7]
local line = line_of(KEYS[1], KEYS[2], ARGV[8], ARGV[9], ARGV[10], ARGV[11])
local place = kind .. limit .. ':' .. owner
put_out_the_late(line)

if is_inside(line, kind, owner) then
  -- Never shortens: a late copy of an old command must not cut a lease that was renewed since.
  if kind ~= 'x' then
    local ends = tonumber(redis.call('ZSCORE', line.held, owner))
    return { 1, let_in(line, kind, owner, math.max(lease, ends - line.now), seen) }
  end
  local turn, left = turn_of(redis.call('GET', line.lock)), redis.call('PTTL', line.lock)
  -- Called by a server that knows less than this process has seen: a turn of its own, above that.
  if tonumber(turn) <= tonumber(seen) then return { 1, let_in(line, kind, owner, math.max(lease, left), seen) } end
  if left < lease then redis.call('PEXPIRE', line.lock, lease) end
  return { 1, turn }
end

local turn = admit(line, owner, lease, seen)
local head = redis.call('ZRANGE', line.waiting, 0, 0)[1]
-- Those inside would tolerate it, only the one ahead does not enter: if that one is dead, nobody waits for it.
while not turn and head and head ~= place and line.counted and may_enter(line, kind, limit) and is_dead(line.inbox, head) do
  redis.call('ZREM', line.waiting, head)
  turn = admit(line, owner, lease, seen)
  head = redis.call('ZRANGE', line.waiting, 0, 0)[1]
end
if not turn and not head and may_enter(line, kind, limit) then turn = let_in(line, kind, owner, lease, seen) end
if turn then return { 1, turn } end

local since = '0'
if ARGV[5] == '1' then
  since = ARGV[6] ~= '0' and ARGV[6] or digits(microseconds())
  -- Under memory pressure the place is refused; "not yet" is still the answer, and the caller looks again by itself.
  local queued = redis.pcall('ZADD', line.waiting, 'NX', since, place)
  if type(queued) == 'number' then
    redis.pcall('PEXPIRE', line.waiting, 600000)
    since = redis.call('ZSCORE', line.waiting, place)
  end
end
local current = redis.call('GET', line.lock) or ''
local first = redis.call('ZRANGE', line.held, 0, 0, 'WITHSCORES')
if current == 'q:p' then return { 0, math.max(tonumber(first[2]) - line.now, 0), first[1], since } end
return { 0, redis.call('PTTL', line.lock), current == 'q:s' and first[1] or owner_of(current), since }
