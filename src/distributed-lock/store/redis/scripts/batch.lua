--[[
  Executes commands about different locks, one after the other. This is the beginning: the common cases, without a function
  or a table, which would take twice the time. For all others come `shared.lua`, `line.lua`, `wake.lua`, the commands, and `run.lua`.

  KEYS[1]        fence: the highest turn number given
  KEYS[2n]       lock of the n-th command
  KEYS[2n+1]     waiting: the processes that wait for it, by the time since when they wait (microseconds)
  ARGV[1]        process that asks; '' neither queues nor wakes
  ARGV[2]        highest turn number that it has seen
  ARGV[3]        how to wake: <patience, microseconds>:<claim, milliseconds>:<'0' if receivers of a message cannot be counted>:<prefix of inbox channels>
  ARGV[5n-1, …]  of the n-th command: its name, owner, queue, lease, since; see there

  Returns  per command its answer (see there), or its error: one that fails does not affect the others
]]
local fence, process, seen = KEYS[1], ARGV[1], ARGV[2]
-- `last`: the last turn number given, once known. `others`: numbers of the commands that are no common case.
local answers, others, last, started = {}, nil, nil, false

for n = 1, (#KEYS - 1) / 2 do
  local command, owner, queue, answer = ARGV[5 * n - 1], ARGV[5 * n], ARGV[5 * n + 1], nil
  if command == 'acquire' and queue ~= '2' and ARGV[5 * n + 3] == '0' then
    local turn
    if last then
      turn = string.format('%.0f', last + 1)
    else
      local now, given = redis.call('TIME'), redis.call('GET', fence) or '0'
      turn = now[1] .. string.rep('0', 6 - #now[2]) .. now[2]
      if turn <= given or turn <= seen then turn = string.format('%.0f', math.max(given, seen) + 1) end
    end
    local taken = redis.pcall('SET', KEYS[2 * n], turn .. ':' .. owner, 'PX', ARGV[5 * n + 2], 'NX')
    if taken and taken.ok then answer, last, started = turn, turn, true end
  elseif command == 'release' and queue == '0' then
    local current = redis.pcall('GET', KEYS[2 * n])
    if type(current) == 'string' and string.sub(current, 18) == owner and redis.call('PTTL', KEYS[2 * n + 1]) == -2 then
      redis.call('DEL', KEYS[2 * n])
      answer = 1
    end
  end
  if not answer then
    others = others or {}
    others[#others + 1] = n
  end
  answers[n] = answer or 0
end

if started then redis.call('SET', fence, last, 'PX', '86400000') end
if not others then return answers end
local commands = {}
