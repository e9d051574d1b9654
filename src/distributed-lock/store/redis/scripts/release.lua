--[[
  Ends a turn and wakes the next process. Also undoes an acquire of unknown outcome, takes a process that has no callers
  left out of the queue, and (owner '') passes on a wake-up that nobody needed.

  owner   '' owns nothing
  queue   '2' if callers of the process still wait

  Returns  held     1: the key was this owner's; 0: there was no key; -1: it is another owner's, nothing changed
           {held}   the same, and a waiting process was woken
           offered  as -1, but the key is kept for this process, which has no callers: the owner id of the turn that it was offered. Whether it has
                    begun it only the process knows (this may be a late copy of an old command), so it is left alone
]]
function commands.release(lock, waiting, owner, queue)
  local more = queue == '2'
  local current = redis.call('GET', lock)
  local held = current and owner ~= '' and owner_of(current) == owner
  local reserved = current == 'r:' .. process

  if current and not held and not reserved then
    local left = not more and process ~= '' and redis.call('ZREM', waiting, process) == 1
    -- It stood between the holders and callers that they tolerate.
    if left and string.sub(current, 1, 2) == 'q:' then
      admit(line_of(lock, waiting, inbox, key_of(lock), counted, claim))
    end
    return not more and is_offered(current) and owner_of(current) or -1
  end
  -- Reserved for this process, and its next caller is about to use it.
  if reserved and more then return 0 end

  -- The first write: allowed even when the server is out of memory.
  if current then redis.call('DEL', lock) end
  held = held and 1 or 0
  if process == '' then return held end

  if more then
    -- After a turn to the end of the queue; otherwise where it stands.
    if held == 1 or not redis.call('ZSCORE', waiting, process) then queue_last(waiting, process) end
  else
    redis.call('ZREM', waiting, process)
  end
  return wake(lock, waiting) and { held } or held
end
