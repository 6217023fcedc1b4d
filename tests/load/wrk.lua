-- For wrk: posts the bodies of a file, one per line, in turn. The argument after `--` is the file.
-- The last line of the output is the result as JSON; times are in microseconds.
local bodies, number = {}, 0

init = function(arguments)
  for line in io.lines(arguments[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, {["Content-Type"] = "application/json"}, line)
  end
end

request = function()
  number = number % #bodies + 1
  return bodies[number]
end

done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"answers":%d,"errors":%d,"us":%d,"p50_us":%d,"p99_us":%d}\n',
    summary.requests - errors.status, errors.status + errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration, latency:percentile(50), latency:percentile(99)))
end
