-- Of `batch.lua`: who asks, and how its commands wake.
local process, patience, claim, counted, inbox = string.match(ARGV[1], '^([^:]*):(%d+):(%d+):(%d):(.*)$')

-- The key, which is the message: what stands between the braces, with its `%`, `{` and `}` as they were.
local function key_of(lock)
  return (string.gsub(string.match(lock, '{([^{}]*)}:lock$'), '%%(%x%x)', function(code)
    return string.char(tonumber(code, 16))
  end))
end

-- Leaves the key to whoever waits first; false if nobody does.
local function wake(lock, waiting)
  return hand_over(lock, waiting, inbox, key_of(lock), patience, claim, counted)
end
