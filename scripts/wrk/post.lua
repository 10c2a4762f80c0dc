-- Sends a body and expects it back: `wrk -s post.lua URL/echo -- 65536` (bytes of the body; 1024 is the default).
-- wrk makes the request once, after this, so a large body costs the generator no copy for each.

function init(arguments)
  wrk.method = "POST"
  wrk.headers["Content-Type"] = "application/octet-stream"
  wrk.body = string.rep("x", tonumber(arguments[1]) or 1024)
end
