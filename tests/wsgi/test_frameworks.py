"""Drives the examples as a browser would, on the server under test."""

import hashlib
import html
import json
import re
from concurrent.futures import ThreadPoolExecutor
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.parse import urlencode, urljoin, urlsplit

import client
import pytest
import servers

HERE = Path(__file__).parent
EXAMPLES = HERE.parents[1] / "examples" / "wsgi"
PASSWORD = "only for these tests"
CATALOGUE = "".join(f"page {page:05d}\n" for page in range(20_000)).encode()


class Browser:
    """Keeps cookies and its connection, and follows redirects."""

    def __init__(self, server):
        self.server = server
        self.cookies = {}
        self.connection = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.connection:
            self.connection.close()

    def send(self, method, target, headers=(), body=b""):
        """One request and its response, whatever that is."""
        headers = list(headers)
        if self.cookies:
            pairs = "; ".join(f"{k}={v}" for k, v in self.cookies.items())
            headers.append(("Cookie", pairs))
        if self.connection is None:
            self.connection = client.Connection(
                self.server.host, self.server.port
            )
        response = self.connection.request(method, target, headers, body)
        if response.header("Connection", "").lower() == "close":
            self.connection.close()
            self.connection = None
        for value in response.all("Set-Cookie"):
            for name, morsel in SimpleCookie(value).items():
                if morsel["max-age"] == "0":
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value
        return response

    def follow(self, response, target):
        """What a redirect leads to; a response of another kind as it is."""
        for _ in range(5):
            if response.status not in (301, 302, 303):
                return response
            url = urljoin(self.server.url + target, response.header("Location"))
            assert url.startswith(self.server.url), url
            parts = urlsplit(url)
            target = parts.path + (f"?{parts.query}" if parts.query else "")
            response = self.send("GET", target)
        raise AssertionError("redirected without end")

    def get(self, target, **headers):
        """GET; `If_Range="x"` sends `If-Range: x`."""
        pairs = [(k.replace("_", "-"), v) for k, v in headers.items()]
        return self.follow(self.send("GET", target, pairs), target)

    def post(self, target, fields, **headers):
        """Sends a form as it is sent without a file in it."""
        pairs = [(k.replace("_", "-"), v) for k, v in headers.items()]
        pairs.append(("Content-Type", "application/x-www-form-urlencoded"))
        body = urlencode(fields).encode()
        return self.follow(self.send("POST", target, pairs, body), target)

    def post_json(self, target, text):
        pairs = [("Content-Type", "application/json")]
        return self.send("POST", target, pairs, text.encode())

    def submit(self, target, **fields):
        """Fetches a page, and sends its form with the token that is in it."""
        page = self.get(target)
        token = token_of(page)
        return self.post(target, {"csrfmiddlewaretoken": token, **fields})


def token_of(page):
    """The token against forgery in the form of this page."""
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', page.text)
    assert token, page.text
    return token[1]


def multipart(fields, name, content):
    """The type and the body of a form with one file."""
    boundary = "----a-boundary-of-these-tests"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n'
        f"{value}\r\n".encode()
        for key, value in fields.items()
    ]
    parts.append(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{name}"\r\nContent-Type: application/octet-stream\r\n\r\n'
        .encode()
    )
    parts += [content, f"\r\n--{boundary}--\r\n".encode()]
    return f"multipart/form-data; boundary={boundary}", b"".join(parts)


def large(length):
    """Bytes of which no two parts are alike, the same ones every time."""
    return hashlib.shake_256(b"large").digest(length)


@pytest.fixture(scope="module")
def shop():
    with servers.start("flask_shop:app", cwd=EXAMPLES, threads=4, flags=("--body-max", "16M")) as server:
        yield server


@pytest.fixture(scope="module")
def notes(tmp_path_factory):
    env = {
        "NOTES_DB": str(tmp_path_factory.mktemp("notes") / "notes.sqlite3"),
        "NOTES_ADMIN_PASSWORD": PASSWORD,
    }
    cwd = EXAMPLES / "django_notes"
    with servers.start("site_app:app", cwd=cwd, env=env, threads=4) as server:
        yield server


@pytest.fixture(scope="module")
def tree():
    with servers.start("pyramid_tree:app", cwd=EXAMPLES, threads=4) as server:
        yield server


@pytest.fixture
def shopper(shop):
    with Browser(shop) as browser:
        yield browser


@pytest.fixture
def writer(notes):
    with Browser(notes) as browser:
        yield browser


@pytest.fixture
def climber(tree):
    with Browser(tree) as browser:
        yield browser


# The hello pages


@pytest.mark.parametrize("module", ["flaskapp", "djangoapp", "pyramidapp"])
def test_hello(module):
    with servers.start(f"{module}:app", cwd=EXAMPLES) as server:
        with client.Connection(server.host, server.port) as connection:
            # HEAD first: a body sent by mistake would spoil what follows on
            # the same connection.
            head = connection.request("HEAD", "/")
            assert head.status == 200
            page = connection.request("GET", "/")
            assert page.status_line == "HTTP/1.1 200 OK"
            assert page.header("Content-Type").lower() == (
                "text/html; charset=utf-8"
            )
            assert page.text == "<p>Hello, World!</p>"
            assert connection.request("GET", "/nothing").status == 404
            assert connection.request("GET", "/").text == page.text
        assert server.stop() == 0


# Flask


def test_shop_keeps_a_cart_for_each_visitor(shop, shopper):
    assert "Tea:" not in shopper.get("/").text
    added = shopper.send(
        "POST",
        "/cart",
        [("Content-Type", "application/x-www-form-urlencoded")],
        b"item=tea&count=2",
    )
    assert added.status == 303
    assert added.header("Location") == "/"
    assert "HttpOnly" in added.header("Set-Cookie")
    assert "Tea: 2" in shopper.get("/").text
    assert "Tea: 3" in shopper.post("/cart", {"item": "tea"}).text
    with Browser(shop) as other:
        assert "Tea:" not in other.get("/").text


def test_shop_speaks_json(shopper):
    goods = shopper.get("/api/goods")
    assert goods.header("Content-Type") == "application/json"
    assert json.loads(goods.body)["cup"] == {"cents": 1200, "name": "Cup"}
    total = shopper.post_json("/api/total", '{"tea": 2, "pot": 1}')
    assert json.loads(total.body) == {"cents": 4800}
    assert shopper.post_json("/api/total", '{"milk": 1}').status == 422
    assert shopper.post_json("/api/total", '{"tea": ').status == 400
    assert shopper.post("/api/total", {"tea": 1}).status == 415


@pytest.mark.parametrize("length", [0, 1, 65536, 3_000_001])
def test_shop_takes_an_upload(shopper, length):
    content = large(length)
    kind, body = multipart({"note": "größer"}, "a file.bin", content)
    response = shopper.send("POST", "/upload", [("Content-Type", kind)], body)
    assert response.status == 200
    assert json.loads(response.body) == {
        "name": "a file.bin",
        "note": "größer",
        "length": length,
        "sha256": hashlib.sha256(content).hexdigest(),
    }


@pytest.mark.parametrize("chunked", [False, True])
def test_shop_takes_a_body_of_no_form(shopper, chunked):
    content = large(300_000)
    headers, body = [], content
    if chunked:
        headers = [("Transfer-Encoding", "chunked")]
        parts = [content[:1], content[1:70_000], content[70_000:]]
        framed = [b"%x\r\n%b\r\n" % (len(part), part) for part in parts]
        body = b"".join(framed) + b"0\r\n\r\n"
    response = shopper.send("PUT", "/raw", headers, body)
    digest = hashlib.sha256(content).hexdigest()
    assert json.loads(response.body) == {"sha256": digest}
    # What was behind the body is the next request, and nothing else.
    assert shopper.get("/api/goods").status == 200


def test_shop_streams_with_the_session_at_hand(shopper):
    # Flask keeps a session with its keys in order, so they are put so here.
    shopper.post("/cart", {"item": "pot"})
    shopper.post("/cart", {"item": "tea", "count": 2})
    receipt = shopper.get("/receipt")
    assert receipt.framing == "chunked"
    assert receipt.text == "1 x Pot\n2 x Tea\nThank you!\n"


def test_shop_streams_while_it_waits(shop, shopper):
    with client.Connection(shop.host, shop.port) as watching:
        watching.send(client.encode("GET", "/watch"))
        assert watching.read_head().status == 200
        # The application waits for the purchase below, so this chunk has come
        # from the middle of its answer.
        assert re.fullmatch(rb"\d+ sold\n", watching.read_chunk())
        shopper.post("/cart", {"item": "cup"})
        assert watching.read_chunk() == b"1 more\n"
        assert watching.read_chunk() == b""


@pytest.mark.parametrize(
    ("asked", "first", "end"),
    [
        ("bytes=0-10", 0, 11),
        ("bytes=110000-199999", 110_000, 200_000),
        ("bytes=-11", 219_989, 220_000),
        ("bytes=219999-", 219_999, 220_000),
        ("bytes=219990-999999", 219_990, 220_000),
    ],
)
def test_shop_sends_a_range(shopper, asked, first, end):
    part = shopper.get("/catalogue", Range=asked)
    assert part.status == 206
    assert part.header("Content-Range") == f"bytes {first}-{end - 1}/220000"
    assert part.header("Content-Length") == str(end - first)
    assert part.body == CATALOGUE[first:end]


def test_shop_sends_what_a_condition_allows(shopper):
    whole = shopper.get("/catalogue")
    assert whole.status == 200
    assert whole.header("Accept-Ranges") == "bytes"
    assert whole.body == CATALOGUE
    etag = whole.header("ETag")
    fresh = shopper.get("/catalogue", If_None_Match=etag)
    assert (fresh.status, fresh.body) == (304, b"")
    assert fresh.header("ETag") == etag
    part = shopper.get("/catalogue", Range="bytes=0-0", If_Range=etag)
    assert (part.status, part.body) == (206, b"p")
    changed = shopper.get("/catalogue", Range="bytes=0-0", If_Range='"old"')
    assert (changed.status, changed.body) == (200, CATALOGUE)
    beyond = shopper.get("/catalogue", Range="bytes=220000-")
    assert beyond.status == 416


def test_shop_sends_a_file(shopper):
    content = (EXAMPLES / "flask_shop.py").read_bytes()
    whole = shopper.get("/source")
    assert whole.status == 200
    assert whole.header("Content-Length") == str(len(content))
    assert whole.body == content
    part = shopper.get("/source", Range="bytes=100-299")
    assert (part.status, part.body) == (206, content[100:300])
    since = whole.header("Last-Modified")
    assert shopper.get("/source", If_Modified_Since=since).status == 304
    head = shopper.send("HEAD", "/source")
    assert head.header("Content-Length") == str(len(content))
    assert shopper.get("/source").body == content


def test_shop_has_pages_for_errors(shop, shopper):
    missing = shopper.get("/nothing")
    assert missing.status == 404
    assert missing.text.startswith("<h1>Not here</h1>")
    assert shopper.post("/cart", {"item": "milk"}).status == 404
    assert shopper.post("/cart", {}).status == 400
    refused = shopper.send("DELETE", "/cart")
    assert refused.status == 405
    assert "POST" in refused.header("Allow")
    broken = shopper.get("/broken")
    assert (broken.status, broken.text) == (500, "<h1>Our fault</h1>")
    shop.wait_for("RuntimeError: this page is broken on purpose")
    assert shopper.get("/").status == 200


# Django


def test_notes_refuse_a_form_without_its_token(writer):
    assert writer.get("/").status == 200
    assert writer.post("/", {"text": "forged"}).status == 403
    assert "forged" not in writer.get("/").text


def test_notes_are_written_and_read(writer):
    page = writer.submit("/", text="Grüße & <b>küsse</b>")
    assert page.status == 200
    assert "<li>Grüße &amp; &lt;b&gt;küsse&lt;/b&gt;</li>" in page.text
    empty = writer.submit("/", text="")
    assert (empty.status, "required" in empty.text) == (200, True)


def test_notes_of_many_writers_are_all_there(notes):
    def write(name):
        with Browser(notes) as browser:
            for number in range(5):
                page = browser.submit("/", text=f"{name} wrote {number}")
                assert page.status == 200

    names = ["Ada", "Ben", "Cleo", "Dan"]
    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(write, names))
    with Browser(notes) as browser:
        export = browser.get("/export")
    assert export.framing == "chunked"
    lines = [line.split("\t")[1] for line in export.text.splitlines()]
    for name in names:
        written = [line for line in lines if line.startswith(f"{name} wrote")]
        assert written == [f"{name} wrote {number}" for number in range(5)]


def test_notes_have_an_admin(writer):
    first = writer.send("GET", "/admin/")
    assert first.status == 302
    assert first.header("Location") == "/admin/login/?next=/admin/"
    login = "/admin/login/?next=/admin/"
    wrong = writer.submit(login, username="admin", password="guessed")
    assert "Please enter the correct username" in wrong.text
    inside = writer.submit(login, username="admin", password=PASSWORD)
    assert inside.status == 200
    assert "Site administration" in inside.text
    assert "sessionid" in writer.cookies
    changed = writer.submit("/admin/notes/note/add/", text="by the admin")
    assert "was added successfully" in changed.text
    assert "by the admin" in writer.get("/").text
    # The form to leave is on every page of the admin.
    token = {"csrfmiddlewaretoken": token_of(inside)}
    left = writer.post("/admin/logout/", token)
    assert "Logged out" in left.text
    assert writer.send("GET", "/admin/").status == 302


def test_notes_serve_static_files(writer):
    page = writer.get("/")
    address = html.unescape(re.search(r'href="([^"]+\.css)"', page.text)[1])
    style = writer.get(address)
    assert style.status == 200
    assert style.header("Content-Type").startswith("text/css")
    own = EXAMPLES / "django_notes" / "notes" / "static" / "notes" / "notes.css"
    assert style.body == own.read_bytes()
    since = style.header("Last-Modified")
    fresh = writer.get(address, If_Modified_Since=since)
    assert (fresh.status, fresh.body) == (304, b"")
    assert writer.get("/static/admin/css/base.css").status == 200
    assert writer.get("/static/nothing.css").status == 404
    assert writer.get("/static/../settings.py").status == 404
    assert writer.get("/static/%2e%2e/settings.py").status == 404


def test_notes_send_a_file(writer):
    content = (EXAMPLES / "django_notes" / "notes" / "views.py").read_bytes()
    whole = writer.get("/source")
    assert whole.header("Content-Length") == str(len(content))
    assert 'filename="views.py"' in whole.header("Content-Disposition")
    assert whole.body == content


def test_notes_answer_errors(notes, writer):
    assert writer.get("/nothing").status == 404
    broken = writer.get("/broken")
    assert broken.status == 500
    assert "Server Error (500)" in broken.text
    notes.wait_for("RuntimeError: this page is broken on purpose")
    assert writer.get("/", Host="elsewhere.example").status == 400
    assert writer.get("/").status == 200


# Pyramid


def test_tree_is_walked(tree, climber):
    root = climber.get("/")
    assert root.header("Content-Type") == "application/json"
    listed = json.loads(root.body)
    assert listed["path"] == "/"
    assert listed["children"]["trees"] == f"{tree.url}/trees/"
    assert climber.get("/readme").text == "A tree of documents."
    assert climber.get("/trees/oak").text.startswith("The oak")
    # Not ASCII: PATH_INFO has the bytes of this as latin-1.
    assert climber.get("/trees/gr%C3%B6%C3%9Fe/").text == "Up to 40 m."
    for target in ("/nothing", "/trees/nothing", "/readme/deeper"):
        missing = climber.get(target)
        assert (missing.status, missing.text) == (404, "Not in this tree\n")


def test_tree_streams(climber):
    words = climber.get("/trees/oak/words")
    assert words.framing == "chunked"
    assert words.text == "The\noak\nkeeps\nits\nleaves\nfor\nlong.\n"


def test_tree_grows(climber):
    elm = {"name": "elm & ulme", "text": "Ulmen sind schön."}
    planted = climber.post("/trees/add", elm)
    assert (planted.status, planted.text) == (200, "Ulmen sind schön.")
    assert climber.get("/trees/elm%20&%20ulme").text == "Ulmen sind schön."
    assert climber.post("/trees/add", {"name": "ash"}).status == 400
    assert climber.get("/trees/ash").status == 404


def test_tree_sends_files(climber):
    content = (EXAMPLES / "pyramid_tree.py").read_bytes()
    whole = climber.get("/source")
    assert whole.header("Content-Length") == str(len(content))
    assert whole.body == content
    since = whole.header("Last-Modified")
    fresh = climber.get("/source", If_Modified_Since=since)
    assert (fresh.status, fresh.body) == (304, b"")
    assert climber.get("/wrapped").body == content


def test_tree_answers_conditions(climber):
    etag = climber.get("/readme").header("ETag")
    fresh = climber.get("/readme", If_None_Match=etag)
    assert (fresh.status, fresh.body) == (304, b"")
    assert climber.get("/readme", If_None_Match='"old"').status == 200


def test_tree_has_views_for_exceptions(climber):
    full = climber.get("/full")
    assert (full.status, full.text) == (507, "No room: full on purpose\n")
    broken = climber.get("/broken")
    assert (broken.status, broken.text) == (500, "Our fault\n")
    assert climber.get("/").status == 200


# Behind the validator

TEA = b"item=tea&count=2"
FORM = [("Content-Type", "application/x-www-form-urlencoded")]
JSON = [("Content-Type", "application/json")]

VALIDATED = {
    "flaskapp": [("GET", "/", (), b"", 200), ("GET", "/no", (), b"", 404)],
    "djangoapp": [("GET", "/", (), b"", 200), ("GET", "/no", (), b"", 404)],
    "pyramidapp": [("GET", "/", (), b"", 200), ("GET", "/no", (), b"", 404)],
    "flask_shop": [
        ("GET", "/", (), b"", 200),
        ("GET", "/?a=b&c=%C3%A4", [("Accept", "a"), ("Accept", "b")], b"", 200),
        ("GET", "/api/goods", (), b"", 200),
        ("POST", "/cart", FORM, TEA, 303),
        ("POST", "/api/total", JSON, b'{"tea": 1}', 200),
        ("GET", "/receipt", (), b"", 200),
        ("GET", "/catalogue", (), b"", 200),
        ("GET", "/catalogue", [("Range", "bytes=0-9")], b"", 206),
        ("GET", "/source", (), b"", 200),
        ("PUT", "/raw", (), b"raw", 200),
    ],
    "django_notes": [
        ("GET", "/", (), b"", 200),
        ("POST", "/", FORM, b"text=forged", 403),
        ("GET", "/export", (), b"", 200),
        ("GET", "/source", (), b"", 200),
        ("GET", "/admin/", (), b"", 302),
        ("GET", "/static/notes/notes.css", (), b"", 200),
    ],
    "pyramid_tree": [
        ("GET", "/", (), b"", 200),
        ("GET", "/trees/gr%C3%B6%C3%9Fe", (), b"", 200),
        ("GET", "/trees/oak/words", (), b"", 200),
        ("GET", "/source", (), b"", 200),
        ("GET", "/wrapped", (), b"", 200),
        ("POST", "/trees/add", FORM, b"name=fir&text=green", 303),
        ("GET", "/trees/fir", (), b"", 200),
    ],
}


@pytest.mark.parametrize("name", VALIDATED)
def test_validator_has_no_objection(name, tmp_path):
    env = {"NOTES_DB": str(tmp_path / "notes.sqlite3")}
    with servers.start(f"validated:{name}", cwd=HERE, env=env) as server:
        with Browser(server) as browser:
            for method, target, headers, body, status in VALIDATED[name]:
                response = browser.send(method, target, headers, body)
                assert response.status == status, target
                assert browser.connection, f"{target} cost the connection"
        assert server.stop() == 0
        said = server.stderr_text()
    # What is wrong after the response has begun is told here only.
    for complaint in ("AssertionError", "Traceback", "without being closed"):
        assert complaint not in said, said
