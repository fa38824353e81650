-- Ends a call: its slot and its record are free.
-- ARGV: prefix, call, fence (empty: whoever holds it)
-- Returns: word, room
local key = call_key(ARGV[2])
local room = redis.call('HGET', key, 'room')
if not room then
  redis.call('ZREM', calls_key, ARGV[2])
  return {'unknown_call', ''}
end
if ARGV[3] ~= '' then
  local word = held(ARGV[2], ARGV[3])
  if word ~= 'ok' then return {word, ''} end
end
redis.call('DEL', key)
redis.call('ZREM', calls_key, ARGV[2])
return {'ok', room}
