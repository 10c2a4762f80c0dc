"""Calls and threads that go on when the server is asked to end."""

import atexit
import gc
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

pool = ThreadPoolExecutor(1)
atexit.register(lambda: print("atexit was here", file=sys.stderr, flush=True))


class Slow:
    """A file that gives a byte at a time."""

    def read(self, _):
        time.sleep(0.001)
        return b"x"


class Kept:
    """A file that knows its wrapper."""

    alive = 0

    def __init__(self):
        Kept.alive += 1

    def __del__(self):
        Kept.alive -= 1

    def read(self, _):
        return b""


class Empties:
    """Blocks of nothing for ever, until it is closed."""

    is_closed = False

    def __iter__(self):
        yield b"begin"
        while True:
            time.sleep(0.002)
            yield b""

    def close(self):
        Empties.is_closed = True


def stuck(_environ):
    """Says that it has begun, and never returns."""
    print("stuck", file=sys.stderr, flush=True)
    time.sleep(1000)


def pooled(_environ):
    """Leaves a thread behind that the interpreter awaits at its end."""
    pool.submit(time.sleep, 1000)
    return [b"pooled"]


def daemon(environ):
    """Leaves a daemon behind that is inside of the server's own functions most of the time."""
    wrapper = environ["wsgi.file_wrapper"](Slow())
    threading.Thread(target=lambda: [0 for _ in wrapper], daemon=True).start()
    return [b"daemon"]


def cycles(environ):
    """How many files with a cycle are left when the collector has run."""
    for _ in range(20):
        file = Kept()
        file.wrapper = environ["wsgi.file_wrapper"](file)
    del file
    gc.collect()
    return [str(Kept.alive).encode()]


CALLS = {
    "/stuck": stuck, "/pooled": pooled, "/daemon": daemon, "/cycles": cycles, "/fast": lambda _: [b"fast"],
    "/empties": lambda _: Empties(), "/closed": lambda _: [str(Empties.is_closed).encode()],
}


def app(environ, start_response):
    """Does what the path says."""
    body = CALLS[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return body
