"""Large bodies through Flask, both ways."""

import hashlib
import os

from flask import Flask, request, send_file

app = Flask(__name__)


@app.post("/upload")
def upload():
    """The digest of a body that is read in pieces."""
    digest = hashlib.sha256()
    while piece := request.stream.read(1 << 16):
        digest.update(piece)
    return digest.hexdigest()


@app.get("/download")
def download():
    """A file."""
    return send_file(os.environ["DOWNLOAD"], mimetype="application/octet-stream")


@app.get("/stream")
def stream():
    """The same file, in blocks that pass through Python."""

    def blocks():
        with open(os.environ["DOWNLOAD"], "rb") as file:
            while block := file.read(1 << 17):
                yield block

    return blocks(), {"Content-Type": "application/octet-stream"}
