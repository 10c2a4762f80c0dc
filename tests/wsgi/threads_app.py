"""Calls that take long, and calls that do not."""

import threading
import time

release = threading.Event()
lock = threading.Lock()
held = 0


def app(environ, start_response):
    """Does what the path says."""
    body = CALLS[environ["PATH_INFO"]](environ)
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [body.encode()]


def slow(environ):
    """A second of waiting."""
    time.sleep(1)
    return "slow"


def held_call(environ):
    """Waits until it is released."""
    global held
    with lock:
        held += 1
    release.wait(20)
    return "held"


def count(environ):
    """How many wait."""
    return str(held)


def fast(environ):
    """Nothing."""
    return "fast"


def releasing(environ):
    """Lets those who wait go on."""
    release.set()
    return "released"


def multithread(environ):
    """What the server says of itself."""
    return str(environ["wsgi.multithread"])


CALLS = {
    "/slow": slow, "/held": held_call, "/count": count, "/fast": fast, "/release": releasing, "/multithread": multithread,
}
