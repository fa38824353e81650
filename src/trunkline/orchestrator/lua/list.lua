-- Everything the registry knows, or only the calls that nobody holds: looked for four times a second, among hundreds.
-- ARGV: prefix, all | orphans
-- Returns: now, {{call, field, value, …}, …}, {{worker, seen, field, value, …}, …}
local calls = {}
for _, call in ipairs(redis.call('ZRANGE', calls_key, 0, -1)) do
  local held = ARGV[2] == 'orphans' and tonumber(redis.call('HGET', call_key(call), 'lease_until') or 0) > now
  if not held then
    local fields = redis.call('HGETALL', call_key(call))
    table.insert(fields, 1, call)
    table.insert(calls, fields)
  end
end
local workers = {}
local seen = redis.call('ZRANGE', workers_key, 0, -1, 'WITHSCORES')
for at = 1, #seen, 2 do
  local fields = redis.call('HGETALL', worker_key(seen[at]))
  table.insert(fields, 1, seen[at + 1])
  table.insert(fields, 1, seen[at])
  table.insert(workers, fields)
end
return {now, calls, workers}
