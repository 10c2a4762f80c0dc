"""A hello page in Flask: `ringway flaskapp:app`."""

from flask import Flask

app = Flask(__name__)


@app.route("/")
def hello():
    return "<p>Hello, World!</p>"
