-- Each connection asks for one job after the other, by the lines of the file that POLLED names: a
-- path, and the entity tag that is known of it, if one is.
local paths, tags, headers, next_one = {}, {}, {}, 0
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  counts = {}
  for line in io.lines(os.getenv("POLLED")) do
    local path, tag = line:match("^(%S+) ?(.*)$")
    table.insert(paths, path)
    table.insert(tags, tag)
  end
  local key = os.getenv("POLL_KEY")
  if key then headers["Authorization"] = "Bearer " .. key end
end

function request()
  next_one = next_one % #paths + 1
  if tags[next_one] ~= "" then headers["If-None-Match"] = tags[next_one] end
  return wrk.format("GET", paths[next_one], headers)
end

function response(status)
  local name = "s" .. status
  counts[name] = (counts[name] or 0) + 1
  said = ""
  for each, count in pairs(counts) do said = said .. " " .. each .. "=" .. count end
end

function done(summary, latency)
  for _, thread in ipairs(threads) do io.write("STATUS", thread:get("said") or "", "\n") end
  local errors = summary.errors
  local lost = errors.connect + errors.read + errors.write + errors.timeout
  io.write(string.format("RESULT %d %d %f %f %d\n", summary.requests, summary.duration,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, lost))
end
