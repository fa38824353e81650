-- A worker that was given a call does not take it: another is chosen, of those that were not tried since the last
-- dispatch. One that is refused by all waits for the next dispatch.
-- ARGV: prefix, call, worker, worker_alive_ms
-- Returns: the worker to give it to; empty where there is none, or the call is not this worker's to pass on
local key = call_key(ARGV[2])
local has = redis.call('HMGET', key, 'assigned', 'lease_until', 'tried')
if has[1] ~= ARGV[3] or tonumber(has[2]) > now then return '' end
local tried = has[3] .. ARGV[3] .. ' '
redis.call('HSET', key, 'assigned', '', 'tried', tried)
local worker = choose(ARGV[4], 'hard', tried)
if worker ~= '' then
  redis.call('HINCRBY', key, 'dispatches', 1)
  redis.call('HSET', key, 'assigned', worker, 'dispatched', now)
end
return worker
