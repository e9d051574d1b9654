-- Of `batch.lua`: who asks, and how its commands wake.
local process, patience, claim, offer, counted, inbox = string.match(ARGV[1], '^([^:]*):(%d+):(%d+):(%d+):(%d):(.*)$')

-- The key, which is the message: what stands between the braces, with its `%`, `{` and `}` as they were.
local function key_of(lock)
  return (string.gsub(string.match(lock, '{([^{}]*)}:lock$'), '%%(%x%x)', function(code)
    return string.char(tonumber(code, 16))
  end))
end

-- The last turn number that was given, of whatever key; '9', which is above all, if the data was lost since. Whatever is offered from now on is
-- above that, and above what the process that asks has seen.
local function given_by_now()
  local given = redis.call('GET', fence)
  if seen > (given or '0') then redis.pcall('SET', fence, seen, 'PX', 86400000) end
  if not given then return '9' end
  return seen > given and seen or given
end

-- Whether this is a turn that was offered to the process that asks.
local function is_offered(value)
  return string.sub(value, 1, #process + 3) == 'r:' .. process .. ':'
end

-- The turn that a waiting process is offered, or nil. Only one that has asked a short time ago can begin it at once, and has shown
-- that it runs; receivers must be counted, since an offer to a dead process would keep the key shut.
local function turn_for(member, waited)
  if offer == '0' or counted == '0' or place_of(member) or waited >= offer * 1000 / 3 then return nil end
  return next_turn(fence, seen)
end

-- Leaves the key to the process or the caller that was woken. A process that is offered no turn finds the key free like all others, or reserved once
-- it has waited for `patience`: without that, a process closer to the server could take the key before it, again and again.
local function leave_to(lock, waiting, member, waited, turn)
  local kind, _, owner = place_of(member)
  if kind then
    redis.call('DEL', lock)
    local line = line_of(lock, waiting, inbox, key_of(lock), counted, claim)
    let_in(line, kind, owner, line.claim, '0')
    line.called = true
    admit(line)
  elseif turn then
    give_turn(lock, fence, turn, 'r:' .. member .. ':' .. turn, offer)
  elseif waited >= tonumber(patience) then
    redis.call('SET', lock, 'r:' .. member, 'PX', claim)
  else
    redis.call('DEL', lock)
  end
end

-- Leaves the key to whoever waits first and still listens (one that died has no subscriber and is skipped); of callers, to all that may be inside
-- together. Where receivers cannot be counted (`counted` '0': in a Cluster, PUBLISH answers for one node) the first is taken for alive.
-- Returns whether anybody was woken.
local function wake(lock, waiting)
  while true do
    local first = redis.call('ZPOPMIN', waiting)
    if not first[1] then return false end
    local waited = microseconds() - tonumber(first[2])
    local turn = turn_for(first[1], waited)
    local heard = call(inbox, first[1], 0, key_of(lock), turn and turn .. ':' .. offer)
    if heard > 0 or counted == '0' then
      leave_to(lock, waiting, first[1], waited, turn)
      return true
    end
  end
end
