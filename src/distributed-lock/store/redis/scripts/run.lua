-- The end of `batch.lua`: the commands that were no common case, in their order.
for place = 1, #others, 2 do
  local n = others[place]
  local name, queue, lease, since, owner = string.match(others[place + 1], '^(%a+)(%d):?(%d*):?(%d*) (.*)$')
  if lease == '' then lease, since = ARGV[3], '0' end
  local done, answer = pcall(commands[name], KEYS[2 * n], KEYS[2 * n + 1], owner, queue, lease, since)
  if not done and type(answer) ~= 'table' then
    answer = { err = string.match(answer, 'user_script: *%d+: *%-?(.*)') or answer } -- before Redis 7
  end
  -- Of a replica that was the master: the client leaves the connection only when the whole call fails with it.
  if type(answer) == 'table' and answer.err and string.find(answer.err, 'READONLY', 1, true) then
    return redis.error_reply(string.match(answer.err, 'READONLY.*'))
  end
  answers[n] = answer
end
return answers
