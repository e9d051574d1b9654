--[[
  Takes a free key for a turn, or queues the process.
  Idempotent by owner: asked again after a lost reply, it answers the same turn.

  queue   '1' queues the process if the key is busy, '2' also if it is not: further callers of the process wait behind this one
  lease   milliseconds
  since   since when the process waits, from a former answer; '0' if it does not yet

  Confirms a turn that was offered, if it comes under that turn's owner id. Another one learns of it, and changes nothing: it may be a late
  copy of an old command, and the process may have begun the turn.

  Returns  turn                                    granted; the lease lasts at least `lease` from now
           {pttl, holder, since, given, offered}   busy; pttl as PTTL answers it; since '0' if not queued; given: see `given_by_now`;
                                                   offered 1: the key is kept for this process, under the owner id `holder`
]]
function commands.acquire(lock, waiting, owner, queue, lease, since)
  local current = redis.call('GET', lock)
  local function queue_behind()
    if queue == '2' then
      redis.call('ZADD', waiting, 'NX', digits(microseconds()), process)
      redis.call('PEXPIRE', waiting, 600000)
    elseif process ~= '' then
      redis.call('ZREM', waiting, process)
    end
  end

  if current and owner_of(current) == owner then
    -- Never shortens: a late copy of an old command must not cut a lease that was renewed since.
    local left = redis.call('PTTL', lock)
    if turn_of(current) == 'r' then
      local turn = string.match(owner, '%d+$')
      redis.call('SET', lock, turn .. ':' .. owner, 'PX', math.max(lease, left))
      queue_behind()
      return turn
    end
    if left < tonumber(lease) then redis.call('PEXPIRE', lock, lease) end
    return turn_of(current)
  end

  if current and current ~= 'r:' .. process then
    local offered = is_offered(current) and 1 or 0
    if queue == '0' then
      since = '0'
    else
      if since == '0' then since = digits(microseconds()) end
      -- Under memory pressure the place is refused; "busy" is still the answer, and the caller looks again by itself.
      local queued = redis.pcall('ZADD', waiting, 'NX', since, process)
      if type(queued) == 'number' then
        redis.pcall('PEXPIRE', waiting, 600000)
        since = redis.call('ZSCORE', waiting, process)
      end
    end
    return { redis.call('PTTL', lock), owner_of(current), since, given_by_now(), offered }
  end

  local turn = start_turn(lock, fence, owner, lease, seen)
  queue_behind()
  return turn
end
