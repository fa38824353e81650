-- A worker's sign of life: extends the leases it still has.
-- ARGV: prefix, worker, soft, hard, lease_ms, worker_ttl_ms, then call and fence in turn
-- Returns: the calls that are no longer its own
local worker = ARGV[2]
redis.call('ZADD', workers_key, now, worker)
redis.call('HSET', worker_key(worker), 'soft', ARGV[3], 'hard', ARGV[4], 'calls', (#ARGV - 6) / 2)
redis.call('PEXPIRE', worker_key(worker), ARGV[6])
redis.call('ZREMRANGEBYSCORE', workers_key, '-inf', now - ARGV[6])
local lost = {}
for at = 7, #ARGV, 2 do
  local call = ARGV[at]
  if held(call, ARGV[at + 1]) == 'ok' then
    redis.call('HSET', call_key(call), 'lease_until', now + ARGV[5], 'orphaned', now + ARGV[5])
  else
    table.insert(lost, call)
  end
end
return lost
