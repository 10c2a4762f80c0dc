-- Sends 16 requests in one write and waits for 16 answers: `wrk -s pipeline.lua URL -- 16` (16 is the default).
-- wrk counts each answer as a request of its own.

function init(arguments)
  local depth = tonumber(arguments[1]) or 16
  local requests = {}
  for index = 1, depth do
    requests[index] = wrk.format()
  end
  batch = table.concat(requests)
end

function request()
  return batch
end
