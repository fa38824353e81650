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
