--[[
  Executes commands about different locks, one after the other. This is the beginning: the common cases, without a function
  or a table, which would take twice the time. For all others come `shared.lua`, `line.lua`, `wake.lua`, the commands, and `run.lua`.

  KEYS[1]        fence: the highest turn number given
  KEYS[2n]       lock of the n-th command
  KEYS[2n+1]     waiting: the processes that wait for it, by the time since when they wait (microseconds)
  ARGV[1]        the process that asks: <id; '' neither queues nor wakes>:<patience, microseconds>:<claim, milliseconds>:<how long a turn is
                 offered, milliseconds; '0' never>:<'0' if receivers of a message cannot be counted>:<prefix of inbox channels>
  ARGV[2]        highest turn number that it has seen
  ARGV[3]        lease, milliseconds, where a command does not say its own
  ARGV[4]        the commands, one in a line: <name><queue> <owner>, or <name><queue>:<lease>:<since> <owner>; see there
  (Few and short, because each argument costs the client and the server more than what is done with it.)

  Returns  per command its answer (see there), or its error: one that fails does not affect the others
]]
local fence, seen, texts = KEYS[1], ARGV[2], ARGV[4]
-- `last`: the last turn number given, once known. `others`: number and text, in turn, of the commands that are no common case.
local answers, others, last, started, from = {}, nil, nil, false, 1

for n = 1, (#KEYS - 1) / 2 do
  local lock, answer = KEYS[2 * n], nil
  local to = string.find(texts, '\n', from, true) or 0
  local command, owner = string.sub(texts, from, from + 8), string.sub(texts, from + 9, to - 1)
  if command == 'acquire1 ' or command == 'acquire0 ' then
    local turn
    if last then
      turn = string.format('%.0f', last + 1)
    else
      local now, given = redis.call('TIME'), redis.call('GET', fence) or '0'
      turn = now[1] .. string.sub('00000', #now[2]) .. now[2]
      if turn <= given or turn <= seen then turn = string.format('%.0f', math.max(given, seen) + 1) end
    end
    local taken = redis.pcall('SET', lock, turn .. ':' .. owner, 'PX', ARGV[3], 'NX')
    if taken and taken.ok then answer, last, started = turn, turn, true end
  elseif command == 'release0 ' then
    local current = redis.pcall('GET', lock)
    if type(current) == 'string' and string.sub(current, 18) == owner and redis.call('PTTL', KEYS[2 * n + 1]) == -2 then
      redis.call('DEL', lock)
      answer = 1
    end
  end
  if not answer then
    others = others or {}
    others[#others + 1] = n
    others[#others + 1] = string.sub(texts, from, to - 1)
  end
  answers[n], from = answer or 0, to + 1
end

if started then redis.call('SET', fence, last, 'PX', '86400000') end
if not others then return answers end
local commands = {}
