-- Everything the registry knows.
-- ARGV: prefix
-- Returns: now, {{call, field, value, …}, …}, {{worker, seen, field, value, …}, …}
local calls = {}
for _, call in ipairs(redis.call('ZRANGE', calls_key, 0, -1)) do
  local fields = redis.call('HGETALL', call_key(call))
  table.insert(fields, 1, call)
  table.insert(calls, fields)
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
