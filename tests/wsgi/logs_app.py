"""Applications for the tests of what is said on stderr."""


def app(environ, start_response):
    """Answers with the request's id, or raises."""
    path = environ["PATH_INFO"]
    environ["wsgi.errors"].write(f"own line for {path}\n")
    if path == "/raises":
        raise ValueError('no "way"\nout')
    identity = environ.get("HTTP_X_REQUEST_ID", "none")
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [identity.encode("latin-1")]
