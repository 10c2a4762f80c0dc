"""An application that comes to know of threads only when it is called."""


def app(environ, start_response):
    """The name of the thread that is the main one."""
    import threading

    start_response("200 OK", [("Content-Type", "text/plain")])
    return [str(threading.main_thread() is threading.current_thread()).encode()]
