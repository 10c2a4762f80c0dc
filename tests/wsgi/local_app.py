"""What a thread keeps from call to call."""

import threading

kept = threading.local()


def app(environ, start_response):
    """Counts the calls of its thread."""
    kept.count = getattr(kept, "count", 0) + 1
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [f"{kept.count}.".encode()]
