"""The applications of the wire cases (tests/wire), in Python: what they answer is what their namesakes in Rust answer."""

TEXT = [("Content-Type", "text/plain")]
# What the server lays over environ for the test, and what only WSGI has.
OTHERS = ("test.raw_head", "RAW_URI", "wsgi.version", "wsgi.input", "wsgi.errors", "wsgi.multithread", "wsgi.multiprocess",
          "wsgi.run_once", "wsgi.input_terminated", "wsgi.file_wrapper")


def hello(environ, start_response):
    """Says hello."""
    start_response("200 OK", TEXT)
    return [b"Hello, World!"]


def json(environ, start_response):
    """Says it in JSON."""
    start_response("200 OK", [("Content-Type", "application/json")])
    return [b'{"message":"Hello, World!"}']


def echo(environ, start_response):
    """The body as it came; without one, the head."""
    body = environ["wsgi.input"].read()
    if not body:
        start_response("200 OK", TEXT)
        return [environ.get("test.raw_head", head(environ)).encode("latin-1")]
    start_response("200 OK", [("Content-Type", environ.get("CONTENT_TYPE", "application/octet-stream"))])
    return [body]


def head(environ):
    """The head as it was, where its names are written as usual."""
    lines = [f"{environ['REQUEST_METHOD']} {environ['RAW_URI']} {environ['SERVER_PROTOCOL']}"]
    fields = ((key[5:].replace("_", "-").title(), value) for key, value in environ.items() if key.startswith("HTTP_"))
    lines += [f"{name}: {value}" for name, value in fields]
    return "".join(f"{line}\r\n" for line in lines)


def environ(environ, start_response):
    """The environ, one `KEY: value` a line, sorted."""
    lines = sorted(f"{key}: {printable(value)}\n" for key, value in environ.items() if key not in OTHERS and value != "")
    start_response("200 OK", [("Content-Type", "text/plain; charset=utf-8")])
    return ["".join(lines).encode()]


def printable(value):
    """Control bytes and what is no UTF-8 as `\\xNN`."""
    text = value.encode("latin-1").decode("utf-8", "backslashreplace")
    return "".join(f"\\x{ord(c):02x}" if ord(c) < 32 or ord(c) == 127 else c for c in text)


def nobody204(environ, start_response):
    """A body where none may be."""
    start_response("204 No Content", [])
    return [b"dropped"]


def s304(environ, start_response):
    """Nothing has changed."""
    start_response("304 Not Modified", [("ETag", '"tag"')])
    return []


def stream(environ, start_response):
    """Three blocks."""
    start_response("200 OK", TEXT)
    return [b"one", b"two", b"three"]


def short(environ, start_response):
    """Less than was declared."""
    start_response("200 OK", [("Content-Length", "10")])
    return [b"01234"]


def long(environ, start_response):
    """More than was declared."""
    start_response("200 OK", [("Content-Length", "5")])
    return [b"0123456789"]


def crlf(environ, start_response):
    """A forged field."""
    start_response("200 OK", [("X-Split", "a\r\nSet-Cookie: b")])
    return [b"never seen"]


def ownte(environ, start_response):
    """A field that is the server's."""
    start_response("200 OK", [("Transfer-Encoding", "chunked")])
    return [b"never seen"]


def reads(environ, start_response):
    """How much of a body there is."""
    start_response("200 OK", [])
    return [f"body size {len(environ['wsgi.input'].read())}".encode()]


def panic(environ, start_response):
    """An exception."""
    raise RuntimeError("on purpose")
