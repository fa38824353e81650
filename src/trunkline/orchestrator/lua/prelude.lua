-- Put before every script. The clock is Redis's own, so that any number of orchestrators agree on it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local prefix = ARGV[1]
local calls_key = prefix .. 'calls'
local workers_key = prefix .. 'workers'
local function call_key(call) return prefix .. 'call:' .. call end
local function worker_key(worker) return prefix .. 'worker:' .. worker end
-- The call's record where `fence` still names its lease; otherwise why not.
local function held(call, fence)
  local has = redis.call('HGET', call_key(call), 'fence')
  if not has then return 'unknown_call' end
  if has ~= fence then return 'lease_lost' end
  return 'ok'
end
-- The worker to give a call to: of those alive, not draining and not in `except` (names between spaces), with fewer
-- calls than their `limit` ('soft' or 'hard'), the one with the largest free share of its soft capacity; '' for none.
-- Calls count from when they were assigned, so that a burst spreads before the first lease is taken.
local function choose(alive_ms, limit, except)
  local assigned = {}
  for _, call in ipairs(redis.call('ZRANGE', calls_key, 0, -1)) do
    local worker = redis.call('HGET', call_key(call), 'assigned')
    if worker then assigned[worker] = (assigned[worker] or 0) + 1 end
  end
  local best, least = '', nil
  for _, worker in ipairs(redis.call('ZRANGEBYSCORE', workers_key, now - alive_ms, '+inf')) do
    local has = redis.call('HMGET', worker_key(worker), 'soft', limit)
    local soft, most, calls = tonumber(has[1]) or 0, tonumber(has[2]) or 0, assigned[worker] or 0
    if soft > 0 and calls < most and not string.find(except, ' ' .. worker .. ' ', 1, true) then
      local used = calls / soft
      if not least or used < least or (used == least and worker < best) then best, least = worker, used end
    end
  end
  return best
end
