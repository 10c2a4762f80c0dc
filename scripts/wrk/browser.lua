-- Sends the head a browser sends: 13 fields, about 640 bytes, most of which a server has no use for.
-- wrk itself adds Host, the first of the 13. The path is the one that every peer answers; the query is ballast.
-- `scripts/bench` reads the path and the fields from here to verify each peer with the same head.

local head = {
  ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36",
  ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
  ["Accept-Language"] = "en-GB,en;q=0.9,de;q=0.8",
  ["Accept-Encoding"] = "gzip, deflate, br, zstd",
  ["Connection"] = "keep-alive",
  ["Cache-Control"] = "max-age=0",
  ["Upgrade-Insecure-Requests"] = "1",
  ["Sec-Fetch-Dest"] = "document",
  ["Sec-Fetch-Mode"] = "navigate",
  ["Sec-Fetch-Site"] = "same-origin",
  ["Referer"] = "http://localhost/articles/2025/a-page",
  ["Cookie"] = "session=3f9c1b7a5d2e48c6a0b1d4e7f8092a3b; theme=dark; consent=yes",
}

function init()
  for name, value in pairs(head) do
    wrk.headers[name] = value
  end
  wrk.path = "/?from=front&articles=2025&another=page"
  text = wrk.format("GET")
end

function request()
  return text
end
