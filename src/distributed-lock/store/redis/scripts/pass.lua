--[[
  Asks whether another process waits. If so it goes next and this process is queued again; else the turn goes on.

  Returns  {2, since, given}  passed on; the process is queued since then; given: see `given_by_now`
           {1, turn}          nobody waits: a new turn of the same owner
           {0}                not held by this owner; nothing changed
]]
function commands.pass(lock, waiting, owner, _queue, lease)
  local current = redis.call('GET', lock)
  if not current or owner_of(current) ~= owner then return { 0 } end

  redis.call('ZREM', waiting, process)
  -- Popped and published before the key is touched: dead processes in the queue do not end the turn.
  if wake(lock, waiting) then return { 2, queue_last(waiting, process), given_by_now() } end
  return { 1, start_turn(lock, fence, owner, math.max(lease, redis.call('PTTL', lock)), seen) }
end
