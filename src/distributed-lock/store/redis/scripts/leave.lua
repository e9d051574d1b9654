--[[
  Ends a hold of the line, or gives up a place in it, and lets in those who may enter now. Also undoes an `enter` of unknown outcome.

  KEYS[1]  lock
  KEYS[2]  waiting
  ARGV[1]  kind: x, s, p
  ARGV[2]  limit of p; else ''
  ARGV[3]  owner
  ARGV[4]  prefix of inbox channels; '' where nobody is called
  ARGV[5]  message: the key
  ARGV[6]  '0' if receivers of a message cannot be counted
  ARGV[7]  claim, milliseconds

  Returns  1  it was inside
           0  it was not
]]
local kind, owner = ARGV[1], ARGV[3]
-- The first write: allowed even when the server is out of memory.
redis.call('ZREM', KEYS[2], kind .. ARGV[2] .. ':' .. owner)
local line = line_of(KEYS[1], KEYS[2], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
put_out_the_late(line)
local was_inside = is_inside(line, kind, owner)
if was_inside and kind == 'x' then
  redis.call('DEL', line.lock)
elseif was_inside then
  redis.call('ZREM', line.held, owner)
  keep_until_last(line, kind)
end
admit(line)
return was_inside and 1 or 0
