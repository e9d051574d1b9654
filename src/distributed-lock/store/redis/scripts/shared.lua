--[[
  Shared by the scripts of this folder; the loader puts it in front of each.

  The lock key holds one of
    <turn>:<owner>   a turn: its number (microseconds, only growing) and the owner id it belongs to
    r:<process>      reserved: free for this process alone, for as long as the key lives
    r:<process>:<turn>  the same, and the turn is offered: the process may begin it when it hears of it, and confirms it by asking under
                     the owner id <process>:<turn>
    k:               kept closed after a release, for as long as the key lives
]]

local function microseconds()
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

-- tostring() keeps 14 digits; these numbers have 16.
local function digits(number)
  return string.format('%.0f', number)
end

-- The owner id in a lock key's value; of a reservation, the process.
local function owner_of(value)
  return string.sub(value, (string.find(value, ':', 1, true) or 0) + 1)
end

local function turn_of(value)
  return string.sub(value, 1, (string.find(value, ':', 1, true) or 1) - 1)
end

-- A number for a turn: above every number this key, this process or this clock has shown, so that it still grows after the data was lost.
local function next_turn(fence, seen)
  return digits(math.max(tonumber(redis.call('GET', fence) or '0') + 1, tonumber(seen) + 1, microseconds()))
end

-- Gives a turn. The fence key expires a day after its last use: the clock is ahead of it by then.
local function give_turn(lock, fence, turn, value, lease)
  redis.call('SET', lock, value, 'PX', lease)
  redis.call('SET', fence, turn, 'PX', 86400000)
  return turn
end

local function start_turn(lock, fence, owner, lease, seen)
  local turn = next_turn(fence, seen)
  return give_turn(lock, fence, turn, turn .. ':' .. owner, lease)
end

-- Puts a process at the end of the queue, whether or not it was in it.
local function queue_last(waiting, process)
  local since = digits(microseconds())
  redis.call('ZADD', waiting, since, process)
  redis.call('PEXPIRE', waiting, 600000)
  return since
end

-- A caller's place in the line: its kind, limit, owner id and process; nil for a process that waits for a turn.
local function place_of(member)
  return string.match(member, '^(%a)(%d*):(([^:]+):%d+)$')
end

-- Tells whoever waits under this name: a process that the key may be free, or what it is offered (<turn>:<milliseconds>), a caller that it
-- was let in (`in_ms` 0) or when to look. Returns how many heard it.
local function call(inbox, member, in_ms, message, offer)
  if inbox == '' then return 0 end
  local _, _, _, process = place_of(member)
  if not process then return redis.call('PUBLISH', inbox .. member, (offer or '0:0') .. ' ' .. message) end
  return redis.call('PUBLISH', inbox .. process, in_ms .. ' ' .. member .. ' ' .. message)
end

-- Whether nobody listens there any more. Processes have a second channel, for their callers in the line; it ignores an empty message.
local function is_dead(inbox, member)
  local _, _, _, process = place_of(member)
  return redis.call('PUBLISH', inbox .. (process or member .. '.line'), '') == 0
end
