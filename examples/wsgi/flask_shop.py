"""A small shop in Flask: `ringway flask_shop:app`.

JSON, a form, an upload, a session, a streamed answer, a file with ranges, and
pages for errors: what an application of some size asks of its server.
"""

import hashlib
import io
import os
import secrets
import threading

from flask import (
    Flask,
    abort,
    jsonify,
    redirect,
    render_template_string,
    request,
    send_file,
    session,
    stream_with_context,
    url_for,
)

GOODS = {
    "tea": {"name": "Tea", "cents": 450},
    "cup": {"name": "Cup", "cents": 1200},
    "pot": {"name": "Pot", "cents": 3900},
}

# A file of some size to ask parts of; its content tells where a part is from.
CATALOGUE = "".join(f"page {page:05d}\n" for page in range(20_000)).encode()

# What went into carts so far, and the news that there is more of it.
sold = []
news = threading.Condition()
NEWS_SECONDS = 15

FRONT = """<!doctype html>
<title>Shop</title>
<h1>Shop</h1>
<form method="post" action="{{ url_for('add') }}">
  <select name="item">
    {% for key, item in goods.items() %}
    <option value="{{ key }}">{{ item.name }}</option>
    {% endfor %}
  </select>
  <input name="count" type="number" value="1">
  <button>Add</button>
</form>
<ul>
  {% for key, count in cart.items() %}
  <li>{{ goods[key].name }}: {{ count }}</li>
  {% endfor %}
</ul>
"""

app = Flask(__name__)
# A key for one process is enough to try this out; several workers have to be
# given the same one.
app.secret_key = os.environ.get("SHOP_KEY") or secrets.token_hex()
app.config["MAX_CONTENT_LENGTH"] = 64 * 1024 * 1024


@app.get("/")
def front():
    return render_template_string(
        FRONT, goods=GOODS, cart=session.get("cart", {})
    )


@app.post("/cart")
def add():
    item = request.form["item"]
    if item not in GOODS:
        abort(404, f"there is no {item!r} here")
    cart = session.setdefault("cart", {})
    cart[item] = cart.get(item, 0) + request.form.get("count", 1, int)
    # The session sees an assignment to itself, but none inside of a value.
    session.modified = True
    with news:
        sold.append(item)
        news.notify_all()
    return redirect(url_for("front"), 303)


@app.get("/api/goods")
def goods():
    return jsonify(GOODS)


@app.post("/api/total")
def total():
    order = request.get_json()
    try:
        cents = sum(GOODS[key]["cents"] * n for key, n in order.items())
    except KeyError as error:
        return jsonify(error=f"there is no {error.args[0]!r} here"), 422
    return jsonify(cents=cents)


@app.post("/upload")
def upload():
    uploaded = request.files["file"]
    digest = hashlib.sha256()
    length = 0
    while part := uploaded.stream.read(64 * 1024):
        digest.update(part)
        length += len(part)
    return jsonify(
        name=uploaded.filename,
        note=request.form.get("note"),
        length=length,
        sha256=digest.hexdigest(),
    )


@app.put("/raw")
def raw():
    # The body as it comes, with nothing of it kept.
    digest = hashlib.sha256()
    while part := request.stream.read(64 * 1024):
        digest.update(part)
    return jsonify(sha256=digest.hexdigest())


@app.get("/receipt")
def receipt():
    def lines():
        for key, count in session.get("cart", {}).items():
            yield f"{count} x {GOODS[key]['name']}\n"
        yield "Thank you!\n"

    return stream_with_context(lines()), {"Content-Type": "text/plain"}


@app.get("/watch")
def watch():
    # One line for now, and one for the next thing that somebody takes: each
    # has to leave when it is there, not when the answer is complete.
    def lines():
        with news:
            seen = len(sold)
        yield f"{seen} sold\n"
        with news:
            news.wait_for(lambda: len(sold) > seen, NEWS_SECONDS)
            fresh = sold[seen:]
        yield f"{len(fresh)} more\n"

    return lines(), {"Content-Type": "text/plain"}


@app.get("/catalogue")
def catalogue():
    return send_file(
        io.BytesIO(CATALOGUE),
        "text/plain",
        download_name="catalogue.txt",
        etag=hashlib.sha256(CATALOGUE).hexdigest(),
        conditional=True,
    )


@app.get("/source")
def source():
    return send_file(__file__, "text/x-python", conditional=True)


@app.get("/broken")
def broken():
    raise RuntimeError("this page is broken on purpose")


@app.errorhandler(404)
def missing(error):
    return f"<h1>Not here</h1><p>{error.description}</p>", 404


@app.errorhandler(500)
def failed(error):
    return "<h1>Our fault</h1>", 500
