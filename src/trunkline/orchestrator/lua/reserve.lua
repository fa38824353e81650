-- Takes a slot for a call, if there is one, and chooses its worker. Asked again for the same call, it answers as before.
-- ARGV: prefix, call, room, kind, participant, max_calls, worker_alive_ms, reply_on
-- Returns: word, used, capacity, worker
local call = ARGV[2]
local capacity = 0
for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers_key, now - ARGV[7], '+inf')) do
  capacity = capacity + (tonumber(redis.call('HGET', worker_key(worker), 'soft')) or 0)
end
local limit = tonumber(ARGV[6])
if limit > 0 and limit < capacity then capacity = limit end
local used = redis.call('ZCARD', calls_key)
if redis.call('EXISTS', call_key(call)) == 1 then return {'exists', used, capacity, ''} end
if used >= capacity then return {'full', used, capacity, ''} end
local worker = choose(ARGV[7], 'soft', ' ')
redis.call('HSET', call_key(call), 'room', ARGV[3], 'kind', ARGV[4], 'participant', ARGV[5],
  'reply_on', ARGV[8],
  'created', now, 'fence', 0, 'lease_until', 0, 'worker', '', 'admitted', 0, 'answered', 0,
  'assigned', worker, 'tried', ' ', 'dispatches', 1, 'dispatched', now, 'orphaned', now)
redis.call('ZADD', calls_key, now, call)
return {'reserved', used + 1, capacity, worker}
