--[[
  Shared by the scripts of this folder; the loader puts it in front of each.

  The lock key holds one of
    <turn>:<owner>   a turn: its number (microseconds, only growing) and the owner id it belongs to
    r:<process>      reserved: free for this process alone, for as long as the key lives
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

-- Starts a turn. Its number is above every number this key, this process or this clock has shown, so that it still grows
-- after the data was lost. The fence key expires a day after its last use: the clock is ahead of it by then.
local function start_turn(lock, fence, owner, lease, seen)
  local turn = math.max(tonumber(redis.call('GET', fence) or '0') + 1, tonumber(seen) + 1, microseconds())
  redis.call('SET', lock, digits(turn) .. ':' .. owner, 'PX', lease)
  redis.call('SET', fence, digits(turn), 'PX', 86400000)
  return digits(turn)
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

-- Tells whoever waits under this name: a process that the key may be free, a caller that it was let in (`in_ms` 0) or when to look.
-- Returns how many heard it.
local function call(inbox, member, in_ms, message)
  if inbox == '' then return 0 end
  local _, _, _, process = place_of(member)
  if not process then return redis.call('PUBLISH', inbox .. member, message) end
  return redis.call('PUBLISH', inbox .. process, in_ms .. ' ' .. member .. ' ' .. message)
end

-- Whether nobody listens there any more. Processes have a second channel, for their callers in the line; it ignores an empty message.
local function is_dead(inbox, member)
  local _, _, _, process = place_of(member)
  return redis.call('PUBLISH', inbox .. (process or member .. '.line'), '') == 0
end

-- Wakes the process that has waited longest and still listens: one that died has no subscriber and is skipped.
-- Where receivers cannot be counted (`counted` '0': in a Cluster, PUBLISH answers for one node) the first is taken for alive.
-- Returns its id and since when it waited, or nil.
local function wake_first(waiting, inbox, message, counted)
  while true do
    local first = redis.call('ZPOPMIN', waiting)
    if not first[1] then return nil end
    if call(inbox, first[1], 0, message) > 0 then return first[1], tonumber(first[2]) end
    if counted == '0' then return first[1], tonumber(first[2]) end
  end
end

-- Leaves the key to a woken process: free for all, or reserved for it once it has waited for `patience` microseconds. Without
-- the reservation a process closer to the server could take the key before the woken one, again and again.
local function leave_to(lock, process, since, patience, claim)
  if microseconds() - since >= tonumber(patience) then
    redis.call('SET', lock, 'r:' .. process, 'PX', claim)
  else
    redis.call('DEL', lock)
  end
end
