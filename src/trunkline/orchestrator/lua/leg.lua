-- The first phone that comes into a call's room is its leg.
-- ARGV: prefix, call, leg
-- Returns: word, the call's leg
local key = call_key(ARGV[2])
if redis.call('EXISTS', key) == 0 then return {'unknown_call', ''} end
redis.call('HSETNX', key, 'leg', ARGV[3])
return {'ok', redis.call('HGET', key, 'leg')}
