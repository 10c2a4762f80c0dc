"""A Flask application for hours of load, which can say how many objects there are."""

import gc

from flask import Flask, request

app = Flask(__name__)


@app.get("/")
def hello():
    """A page."""
    return "Hello, World!"


@app.post("/echo")
def echo():
    """The body as it came."""
    return request.get_data()


@app.get("/stream")
def stream():
    """Blocks of a generator."""
    return (b"s" * 10_000 for _ in range(20))


@app.get("/objects")
def objects():
    """How many objects the collector knows, with nothing left to collect."""
    gc.collect()
    return str(len(gc.get_objects()))
