-- Gives a call to a worker, unless another one holds it.
-- ARGV: prefix, call, worker, room, lease_ms
-- Returns: word, fence, kind, admitted, participant, reply_on
local key = call_key(ARGV[2])
local has = redis.call('HMGET', key, 'room', 'worker', 'lease_until', 'kind', 'admitted', 'participant', 'reply_on')
if not has[1] then return {'unknown_call'} end
if has[1] ~= ARGV[4] then return {'wrong_room'} end
if tonumber(has[3]) > now and has[2] ~= ARGV[3] then return {'held'} end
local fence = redis.call('HINCRBY', key, 'fence', 1)
redis.call('HSET', key, 'worker', ARGV[3], 'assigned', ARGV[3], 'lease_until', now + ARGV[5],
  'orphaned', now + ARGV[5], 'dispatches', 0)
return {'ok', fence, has[4], tonumber(has[5]), has[6] or '', has[7] or ''}
