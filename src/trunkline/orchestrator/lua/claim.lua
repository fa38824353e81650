-- One of several orchestrators takes it on itself to dispatch an orphaned call again, or to give it up.
-- ARGV: prefix, call, fence, dispatches, give_up (0 or 1)
-- Returns: 1 where it is ours to do; a call given up is gone already
local key = call_key(ARGV[2])
local has = redis.call('HMGET', key, 'fence', 'dispatches', 'lease_until')
if has[1] ~= ARGV[3] or has[2] ~= ARGV[4] or tonumber(has[3]) > now then return 0 end
if ARGV[5] == '1' then
  redis.call('DEL', key)
  redis.call('ZREM', calls_key, ARGV[2])
  return 1
end
redis.call('HINCRBY', key, 'dispatches', 1)
redis.call('HSET', key, 'dispatched', now)
return 1
