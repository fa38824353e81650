-- Lets the caller in, once, with a token that was never used.
-- ARGV: prefix, call, fence, participant, token_id (empty: none is asked for), token_ttl_ms
-- Returns: word
local call = ARGV[2]
local word = held(call, ARGV[3])
if word ~= 'ok' then return word end
local key = call_key(call)
if redis.call('HGET', key, 'admitted') == '1' then return 'ok' end
if ARGV[5] ~= '' and not redis.call('SET', prefix .. 'token:' .. ARGV[5], call, 'NX', 'PX', ARGV[6]) then
  return 'token_used'
end
redis.call('HSET', key, 'admitted', 1, 'participant', ARGV[4])
return 'ok'
