-- One of several orchestrators takes it on itself to dispatch an orphaned call again, or to give it up.
-- ARGV: prefix, call, fence, dispatches, give_up (0 or 1), worker_alive_ms
-- Returns: 1 where it is ours to do, and the worker to give the call to (empty: there is none); a call given up is
-- gone already
local key = call_key(ARGV[2])
local has = redis.call('HMGET', key, 'fence', 'dispatches', 'lease_until', 'assigned')
if has[1] ~= ARGV[3] or has[2] ~= ARGV[4] or tonumber(has[3]) > now then return {0, ''} end
if ARGV[5] == '1' then
  redis.call('DEL', key)
  redis.call('ZREM', calls_key, ARGV[2])
  return {1, ''}
end
redis.call('HINCRBY', key, 'dispatches', 1)
-- Not counted at the worker that had it, while another is looked for.
redis.call('HSET', key, 'dispatched', now, 'assigned', '')
local worker = choose(ARGV[6], 'hard', ' ' .. has[4] .. ' ')
if worker == '' then worker = choose(ARGV[6], 'hard', ' ') end
redis.call('HSET', key, 'assigned', worker, 'tried', ' ')
return {1, worker}
