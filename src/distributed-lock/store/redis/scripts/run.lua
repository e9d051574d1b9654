-- The end of `batch.lua`: the commands that were no common case, in their order.
for _, n in ipairs(others) do
  local at = 5 * n - 1
  local done, answer =
    pcall(commands[ARGV[at]], KEYS[2 * n], KEYS[2 * n + 1], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3], ARGV[at + 4])
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
