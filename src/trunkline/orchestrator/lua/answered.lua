-- The caller hears the agent, and so was let in.
-- ARGV: prefix, call, fence
-- Returns: word
local word = held(ARGV[2], ARGV[3])
if word == 'ok' then redis.call('HSET', call_key(ARGV[2]), 'answered', now, 'admitted', 1) end
return word
