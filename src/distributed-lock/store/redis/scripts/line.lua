--[[
  The line of a key: callers that stand for themselves, beside the processes that wait for a turn. Shared by the scripts that let somebody
  in; the loader puts it behind `shared.lua`.

  The lock key may also hold
    q:<kind>   held by those in the set of holders, all of one kind; it lives as long as the longest of their leases
  holders  (…:held)  owner ids by the end of their lease (milliseconds); they count only while the lock key says so
  waiting  (…:wait)  beside processes, the places of callers: <kind><limit>:<owner>
                     kind x exclusive (its hold is a turn), s shared, p one of at most `limit`

  The keys of one lock share a slot, so those that a script was not given are named after the lock key.
]]

-- One for all locks; in a Cluster, where receivers cannot be counted, one for each: the keys of a script share a slot.
local function fence_of(lock, counted)
  if counted == '0' then return string.sub(lock, 1, -5) .. 'fence' end
  return string.match(lock, '^(.*){[^{}]*}:lock$') .. 'fence'
end

local function line_of(lock, waiting, inbox, message, counted, claim)
  local name = string.sub(lock, 1, -5)
  return {
    lock = lock, waiting = waiting, fence = fence_of(lock, counted), held = name .. 'held',
    inbox = inbox, message = message, counted = counted ~= '0' and inbox ~= '', claim = tonumber(claim),
    now = math.floor(microseconds() / 1000),
    -- Whether this script has called anybody in.
    called = false,
  }
end

-- Whether the owner is inside.
local function is_inside(line, kind, owner)
  local current = redis.call('GET', line.lock)
  if not current then return false end
  if kind == 'x' then return owner_of(current) == owner end
  return current == 'q:' .. kind and redis.call('ZSCORE', line.held, owner) ~= false
end

-- The lock key says who holds it for as long as one of them does.
local function keep_until_last(line, kind)
  local last = redis.call('ZRANGE', line.held, -1, -1, 'WITHSCORES')
  if not last[1] then return redis.call('DEL', line.lock) end
  local left = digits(math.max(tonumber(last[2]) - line.now, 1))
  redis.call('SET', line.lock, 'q:' .. kind, 'PX', left)
  redis.call('PEXPIRE', line.held, left)
end

-- Puts out the holders whose lease is over.
local function put_out_the_late(line)
  local kind = string.match(redis.call('GET', line.lock) or '', '^q:(%a)$')
  if not kind then return end
  if redis.call('ZREMRANGEBYSCORE', line.held, '-inf', digits(line.now)) > 0 then keep_until_last(line, kind) end
end

-- Whether those inside tolerate one of this kind; `nil` is a process that wants a turn.
local function may_enter(line, kind, limit)
  local current = redis.call('GET', line.lock)
  if not current then return true end
  if kind ~= 's' and kind ~= 'p' or current ~= 'q:' .. kind then return false end
  return kind == 's' or redis.call('ZCARD', line.held) < tonumber(limit)
end

-- Returns the number of the turn, '' for those that are not alone.
local function let_in(line, kind, owner, lease, seen)
  if kind == 'x' then return start_turn(line.lock, line.fence, owner, lease, seen) end
  -- Without the lock key these holders are over, whatever their leases say.
  if redis.call('GET', line.lock) ~= 'q:' .. kind then redis.call('DEL', line.held) end
  redis.call('ZADD', line.held, digits(line.now + lease), owner)
  keep_until_last(line, kind)
  return ''
end

-- Tells whoever has to wait now to look when the claim is over: those called may be frozen. Returns whether it lives, as far as one can know.
local function tell_when_to_look(line, head)
  if not place_of(head) then return not line.counted or not is_dead(line.inbox, head) end
  return call(line.inbox, head, line.claim, line.message) > 0 or not line.counted
end

-- Lets in, in order of arrival, whoever those inside tolerate. They hold for the claim window, and confirm by asking again; dead ones are
-- skipped. A process that waits for a turn finds the key reserved. The caller `me` asks this very moment: it gets its whole lease.
-- Returns the turn of `me`; nil if it is not inside.
local function admit(line, me, lease, seen)
  local mine
  local head = redis.call('ZRANGE', line.waiting, 0, 0)[1]
  while head do
    local kind, limit, owner = place_of(head)
    local enters = may_enter(line, kind, limit)
    if not enters and (not line.called or tell_when_to_look(line, head)) then break end
    redis.call('ZREM', line.waiting, head)
    if not enters then
      -- It was dead, and the next one may be one that those inside tolerate.
    elseif owner and owner == me then
      mine = let_in(line, kind, owner, lease, seen)
    elseif call(line.inbox, head, 0, line.message) > 0 or not line.counted then
      line.called = true
      if kind then
        let_in(line, kind, owner, line.claim, '0')
      else
        redis.call('SET', line.lock, 'r:' .. head, 'PX', line.claim)
      end
    end
    head = redis.call('ZRANGE', line.waiting, 0, 0)[1]
  end
  return mine
end
