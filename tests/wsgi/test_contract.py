"""PEP 3333 over real sockets: each test says in its docstring which phrase of the contract it proves.

`pytest tests/wsgi/test_contract.py --server gunicorn` runs the same against the control. A test that gunicorn can't
pass has `control_differs` with the reason; all others show by it that they ask for nothing but the contract.
"""

import json
import os
import time
from pathlib import Path

import pytest

import client
import servers

THREADS = (4,) if servers.kind == "gunicorn" else (None, 4)


def control_differs(reason):
    """A mark for what gunicorn does otherwise."""
    return pytest.mark.skipif(servers.kind == "gunicorn", reason=f"the control differs: {reason}")


def differing(value, reason):
    """The same for one value of a parameter."""
    return pytest.param(value, marks=control_differs(reason))


class Contract:
    """A running server with the fixture apps, and the evidence that they leave."""

    def __init__(self, server, directory, threads):
        self.server = server
        self.directory = directory
        self.threads = threads
        self.names = 0

    def name(self):
        """A new name for a note or a gate."""
        self.names += 1
        return f"evidence-{self.names}"

    def get(self, target, method="GET", headers=(), body=b""):
        """The response to a request on a connection of its own."""
        return client.once(self.server, method, target, headers, body)

    def json(self, target, **rest):
        """The value in a response that must be a success."""
        response = self.get(target, **rest)
        assert response.status == 200, response
        return json.loads(response.body)

    def environ(self, target="/environ", **rest):
        """The str values of the environ of a request."""
        return self.json(target, **rest)["values"]

    def raw(self, target, method="GET", version="1.1"):
        """Head, and all bytes behind it until the server closes."""
        with self.connect() as connection:
            connection.send(f"{method} {target} HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            head = connection.read_head()
            try:
                return head, connection.read_to_end()
            except ConnectionResetError:
                return head, connection.buffer

    def connect(self):
        """A connection."""
        return client.Connection(self.server.host, self.server.port)

    def notes(self, name, count=1):
        """The lines of a note, when there are so many, or after ten seconds those that are there."""
        path = self.directory / name
        until = time.monotonic() + 10
        while True:
            lines = path.read_text().splitlines() if path.exists() else []
            if len(lines) >= count or time.monotonic() > until:
                return lines
            time.sleep(0.01)

    def said(self, start, word):
        """What stderr has had since `start`, when the word is in it, or after ten seconds."""
        until = time.monotonic() + 10
        while True:
            text = self.server.stderr_text()[start:]
            if word in text or time.monotonic() > until:
                return text
            time.sleep(0.01)

    def lives(self):
        """The worker answers as before."""
        response = self.get("/body?shape=one")
        assert (response.status, response.body) == (200, b"hello")


class Gate:
    """A pipe that an app waits on. It is open at both ends, so that neither side waits for the other to open it."""

    def __init__(self, contract):
        self.name = contract.name()
        self.path = contract.directory / self.name
        os.mkfifo(self.path)
        self.descriptor = os.open(self.path, os.O_RDWR)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)

    def open(self):
        """Let the app go on."""
        os.write(self.descriptor, b"x")


@pytest.fixture(scope="module", params=THREADS, ids=lambda threads: f"threads-{threads or 0}")
def contract(request, tmp_path_factory):
    """One server for the module, and for ringway one more with --threads 4."""
    directory = tmp_path_factory.mktemp("contract")
    environment = {"CONTRACT_DIR": str(directory)}
    here = Path(__file__).parent
    with servers.start("contract_apps:app", cwd=here, env=environment, threads=request.param) as server:
        yield Contract(server, directory, request.param)


# environ


def test_environ_is_exactly_a_dict_of_latin_1_str(contract):
    """exactly a dict; str values are latin-1 "bytes as unicode"."""
    shown = contract.json("/environ/%E2%82%AC", headers=[("X-Name", "caf\xe9")])
    assert shown["exact dict"] and shown["keys are str"]
    assert (shown["not str"], shown["not latin-1"]) == ([], [])


def test_environ_may_be_changed_by_the_app(contract):
    """the app may change it, and the next request does not see it."""
    with contract.connect() as connection:
        for _ in range(3):
            response = connection.request("GET", "/environ_changed")
            before, name, scheme = json.loads(response.body)
            assert (before, scheme) == ("nothing", "http") and name not in ("", "changed")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "X-OWN"])
def test_request_method(contract, method):
    """REQUEST_METHOD."""
    assert contract.environ(method=method)["REQUEST_METHOD"] == method


def test_script_name_is_empty_at_the_root(contract):
    """SCRIPT_NAME ('' or '/x', never '/')."""
    assert contract.environ()["SCRIPT_NAME"] == ""
    assert contract.environ("/environ/")["SCRIPT_NAME"] == ""


@pytest.mark.parametrize(("target", "path"), [
    ("/environ", "/environ"),
    ("/environ/", "/environ/"),
    ("/environ/a//b", "/environ/a//b"),
    ("/environ/a%2Fb%20c", "/environ/a/b c"),
    ("/environ/%C3%A9", "/environ/\xc3\xa9"),
    ("/environ/%e2%82%ac", "/environ/\xe2\x82\xac"),
    ("/environ/%ff", "/environ/\xff"),
    ("/environ/%2541", "/environ/%41"),
    ("/environ/a+b;c=1", "/environ/a+b;c=1"),
    ("/environ/../x", "/environ/../x"),
])
def test_path_info(contract, target, path):
    """PATH_INFO (percent-decoded, `//` kept), as latin-1."""
    assert contract.environ(target)["PATH_INFO"] == path


@pytest.mark.parametrize(("query", "expected"), [
    ("", ""), ("?", ""), ("?a=1&b=%20+c", "a=1&b=%20+c"), ("?a?b", "a?b"), ("?%C3%A9", "%C3%A9"),
])
def test_query_string_is_raw(contract, query, expected):
    """QUERY_STRING (raw, '' if none)."""
    assert contract.environ("/environ" + query)["QUERY_STRING"] == expected


def test_content_type_and_length_only_if_sent(contract):
    """CONTENT_TYPE and CONTENT_LENGTH only if sent, and never as HTTP_CONTENT_*."""
    values = contract.environ()
    assert not {"CONTENT_TYPE", "CONTENT_LENGTH"} & set(values)
    values = contract.environ(method="POST", headers=[("Content-Type", "text/x; a=b")], body=b"12345")
    assert (values["CONTENT_TYPE"], values["CONTENT_LENGTH"]) == ("text/x; a=b", "5")
    assert not {"HTTP_CONTENT_TYPE", "HTTP_CONTENT_LENGTH"} & set(values)


def test_content_length_of_a_kept_connection_is_not_left_behind(contract):
    """CONTENT_TYPE and CONTENT_LENGTH only if sent: nor from the request before."""
    with contract.connect() as connection:
        connection.request("POST", "/environ", [("Content-Type", "text/x"), ("X-Mine", "1")], b"12345")
        values = json.loads(connection.request("GET", "/environ").body)["values"]
    assert not {"CONTENT_TYPE", "CONTENT_LENGTH", "HTTP_X_MINE"} & set(values)


def test_server_name_port_protocol_and_software(contract):
    """SERVER_NAME and SERVER_PORT never empty, SERVER_PROTOCOL ('HTTP/1.1'), SERVER_SOFTWARE."""
    values = contract.environ()
    assert values["SERVER_NAME"] and values["SERVER_PORT"] == str(contract.server.port)
    assert values["SERVER_PROTOCOL"] == "HTTP/1.1"
    assert values["SERVER_SOFTWARE"].lower().startswith(contract.server.kind)


def test_remote_addr_and_port(contract):
    """REMOTE_ADDR, REMOTE_PORT."""
    with contract.connect() as connection:
        values = json.loads(connection.request("GET", "/environ").body)["values"]
        assert (values["REMOTE_ADDR"], values["REMOTE_PORT"]) == ("127.0.0.1", str(connection.socket.getsockname()[1]))


@pytest.mark.parametrize("key", ["RAW_URI", differing("REQUEST_URI", "it has RAW_URI only")])
def test_the_raw_target(contract, key):
    """REQUEST_URI and RAW_URI are the target as it came."""
    target = "/environ/a%2Fb//c?d=%20"
    assert contract.environ(target)[key] == target


@control_differs("it takes the host header")
def test_an_absolute_target(contract):
    """HTTP_HOST is the authority of an absolute target (RFC 9112 3.2.2)."""
    values = contract.environ("http://other.test:81/environ?a")
    assert (values["HTTP_HOST"], values["PATH_INFO"]) == ("other.test:81", "/environ")


def test_header_names_and_values(contract):
    """HTTP_*, non-ASCII kept as latin-1; empty values are there."""
    headers = [("X-Some-Name", "caf\xe9"), ("x-lower", "a b"), ("X-Empty", ""), ("Host", "h:1")]
    values = contract.environ(headers=headers)
    shown = {key: values[f"HTTP_{key}"] for key in ("X_SOME_NAME", "X_LOWER", "X_EMPTY", "HOST")}
    assert shown == {"X_SOME_NAME": "caf\xe9", "X_LOWER": "a b", "X_EMPTY": "", "HOST": "h:1"}


def test_duplicate_headers_are_joined(contract):
    """duplicates joined with ','."""
    values = contract.environ(headers=[("X-A", "1"), ("X-B", "x"), ("x-a", "2"), ("X-A", "3")])
    assert values["HTTP_X_A"] == "1,2,3"


@control_differs("it joins cookies with a comma")
def test_duplicate_cookies_are_joined(contract):
    """Cookie with '; '."""
    assert contract.environ(headers=[("Cookie", "a=1"), ("Cookie", "b=2")])["HTTP_COOKIE"] == "a=1; b=2"


def test_names_with_an_underscore_are_dropped(contract):
    """names containing '_' dropped."""
    values = contract.environ(headers=[("X_User", "evil"), ("X-User", "good"), ("X_Only", "evil")])
    assert values["HTTP_X_USER"] == "good" and "HTTP_X_ONLY" not in values


def test_wsgi_keys(contract):
    """wsgi.version (1, 0), url_scheme, input, errors, run_once, wsgi.input_terminated True, wsgi.file_wrapper."""
    shown = contract.json("/environ")
    assert shown["version"] == ["tuple", [1, 0]]
    assert shown["values"]["wsgi.url_scheme"] == "http"
    assert shown["methods"] == []
    assert shown["input_terminated"] is True and shown["file_wrapper"] is True


def test_multithread_and_multiprocess_are_truthful(contract):
    """multithread and multiprocess (truthful), run_once."""
    flags = contract.json("/environ")["flags"]
    assert flags == {"multithread": contract.threads is not None, "multiprocess": False, "run_once": False}


@control_differs("it is not started on a unix socket here")
def test_server_name_and_port_on_a_unix_socket(tmp_path):
    """SERVER_NAME and SERVER_PORT never empty (unix sockets too)."""
    import socket

    path = tmp_path / "socket"
    flags, environment = ("--bind", f"unix:{path}"), {"CONTRACT_DIR": str(tmp_path)}
    with servers.start("contract_apps:app", cwd=Path(__file__).parent, flags=flags, env=environment):
        with socket.socket(socket.AF_UNIX) as peer:
            peer.settimeout(10)
            peer.connect(str(path))
            peer.sendall(b"GET /environ HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: peer.recv(65536), b""))
    values = json.loads(answer.partition(b"\r\n\r\n")[2])["values"]
    assert values["SERVER_NAME"] and values["SERVER_PORT"]


@control_differs("it has no mounts")
@pytest.mark.parametrize(("target", "path"), [
    ("/environ", ""), ("/environ/", "/"), ("/environ?a", ""), ("/environ/a//%62", "/a//b"),
])
def test_script_name_of_a_mount(mounted, target, path):
    """SCRIPT_NAME ('' or '/x', never '/'), and PATH_INFO is the rest."""
    values = mounted.environ(target)
    assert (values["SCRIPT_NAME"], values["PATH_INFO"]) == ("/environ", path)


@control_differs("it has no mounts")
def test_the_root_beside_a_mount(mounted):
    """The application at the root is served beside the mount."""
    mounted.lives()


@pytest.fixture(scope="module")
def mounted(tmp_path_factory):
    """The same applications at the root and once more below /environ."""
    directory = tmp_path_factory.mktemp("mounted")
    flags, environment = ("--mount", "/environ=contract_apps:app"), {"CONTRACT_DIR": str(directory)}
    here = Path(__file__).parent
    with servers.start("contract_apps:app", cwd=here, flags=flags, env=environment) as server:
        yield Contract(server, directory, None)


# wsgi.input

LINES = "one\ntwo\r\n\nlast"
ENDS = ["one\ntwo\r\n\nlast", *[""] * 6]
READINGS = {
    "read": [LINES],
    "read_n": ["one\n", "two", "\r\n\nlast"],
    "read_large": [LINES],
    "read_minus": [LINES],
    "read_zero": ["", LINES],
    "read_twice": [LINES, "", "", "", ""],
    "readline": ["one\n", "two\r\n", "\n", "last", ""],
    "readline_n": ["one", "\n", "tw", "o\r\n"],
    "readline_minus": ["one\n", "", "two\r\n"],
    "readline_read": ["one\n", "tw", "o\r\n", "\nlast"],
    "readline_iterate": ["on", "e\n", "two\r\n", "\n", "last"],
    "readlines": ["one\n", "two\r\n", "\n", "last"],
    # Whether the hint is heeded is the server's choice (PEP 3333, Input and Error Streams); nothing may be lost by it.
    "readlines_hint": ["one\n", "two\r\n", "\n", "last"],
    "readlines_large": ["one\n", "two\r\n", "\n", "last"],
    "iterate": ["one\n", "two\r\n", "\n", "last"],
    "iterate_next": ["one\n", "two\r\n\nlast"],
    "end": ENDS,
}


@pytest.mark.parametrize("framing", ["length", "chunked", "bytes"])
@pytest.mark.parametrize("how", READINGS)
def test_input(contract, how, framing):
    """read(), read(n), read(-1), read(0), readline(n), readlines(hint), iteration; keeps '\\n'; stops at the body's end
    and then gives b'' for ever; chunked bodies decoded; exactly `bytes`."""
    data, headers = LINES.encode(), []
    if framing != "length":
        size = 1 if framing == "bytes" else 6
        parts = [data[at:at + size] for at in range(0, len(data), size)]
        data = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
        headers = [("Transfer-Encoding", "chunked")]
    pieces, exact = contract.json(f"/read?how={how}", method="POST", headers=headers, body=data)
    assert (pieces, exact) == (READINGS[how], True)


@pytest.mark.parametrize("how", ["read", "read_n", "readline", "readlines", "iterate", "end"])
def test_input_without_a_body(contract, how):
    """stops at the body's end: at once where there is none."""
    pieces, _ = contract.json(f"/read?how={how}")
    assert "".join(pieces) == ""


def test_input_stops_before_the_next_request(contract):
    """stops at the body's end, though another request is there already."""
    with contract.connect() as connection:
        first = client.encode("POST", "/read?how=read_large", body=b"mine")
        connection.send(first + client.encode("POST", "/echo", body=b"next"))
        assert json.loads(connection.read_final().body)[0] == ["mine"]
        assert connection.read_final().body == b"next"


def test_input_that_is_left_unread(contract):
    """an app may leave the body unread: it is never taken for a request."""
    with contract.connect() as connection:
        response = connection.request("POST", "/unread", body=b"GET /never HTTP/1.1\r\n\r\n")
        assert response.body == b"unread"
        try:
            again = connection.request("GET", "/body?shape=one")
        except (client.Closed, ConnectionError):
            return
        assert again.body == b"hello"


def test_input_of_binary_data(contract):
    """exactly `bytes`: every value, and a body of many reads of the socket."""
    data = bytes(range(256)) * 3000
    assert contract.get("/echo", method="POST", body=data).body == data


def test_expect_continue(contract):
    """wsgi.input of a client that waits for 100 Continue (PEP 3333, HTTP 1.1 Expect/Continue)."""
    with contract.connect() as connection:
        headers = [("Expect", "100-continue"), ("Content-Length", "4")]
        connection.send(client.encode("POST", "/echo", headers))
        assert connection.read_head().status == 100
        connection.send(b"body")
        assert connection.read_final().body == b"body"


# wsgi.errors


def test_errors(contract):
    """write, writelines, flush; one line, one line."""
    mark = f"mark{contract.name()}-{contract.threads}"
    start = len(contract.server.stderr_text())
    assert contract.json(f"/errors?mark={mark}") == "written"
    contract.said(start, f"{mark} four\n")
    until = time.monotonic() + 10
    while contract.server.stderr_text()[start:].count(mark) < 5 and time.monotonic() < until:
        time.sleep(0.01)
    lines = [line for line in contract.server.stderr_text()[start:].splitlines() if mark in line]
    assert [line.split()[-1] for line in lines[:4]] == ["one", "two", "three", "four"] and len(lines) == 5


# start_response


def test_start_response_is_positional_and_gives_write(contract):
    """positional; returns `write`; the list of headers is not changed."""
    name = contract.name()
    response = contract.get(f"/positional?note={name}")
    assert (response.status, response.reason, response.body) == (200, "OK", b"one two")
    assert response.header("X-Kept") == "yes"
    assert contract.notes(name, 3) == ["True True", "True", "close"]


def test_exc_info_may_be_none(contract):
    """start_response(status, headers, exc_info=None)."""
    assert contract.get("/exc_info_none").body == b"none"


def test_start_response_in_the_first_next(contract):
    """it may be called inside the first next()."""
    response = contract.get("/in_next")
    assert (response.status, response.reason, response.body) == (201, "Created", b"late")
    assert response.header("X-Late") == "yes"


@control_differs("it sends the head with an empty block")
def test_headers_are_kept_until_the_first_block_that_is_not_empty(contract):
    """headers are kept and sent only with the first non-empty chunk."""
    with contract.connect() as connection, Gate(contract) as gate:
        connection.send(client.encode("GET", f"/kept?gate={gate.name}"))
        connection.socket.settimeout(0.2)
        with pytest.raises(TimeoutError):
            connection.read_head()
        connection.socket.settimeout(10)
        gate.open()
        assert connection.read().body == b"done"


def test_headers_are_sent_at_the_end_of_an_empty_body(contract):
    """headers are sent with the end, if no chunk came."""
    response = contract.get("/body?shape=none_generator")
    assert (response.status, response.body) == (200, b"")


def test_a_second_call_is_an_error(contract):
    """a second call without exc_info is an error."""
    name = contract.name()
    response = contract.get(f"/twice?note={name}")
    assert (response.status, response.body, response.header("X-First")) == (200, b"raised", "yes")
    assert contract.notes(name) == ["error True"]


@control_differs("it holds on to the first Content-Length, and sends the head with an empty block")
@pytest.mark.parametrize(("path", "status", "reason", "body"), [
    ("/replaced", 500, "Mended", b"mended"), ("/replaced_in_next", 503, "Replaced", b"replaced"),
])
def test_exc_info_replaces_before_anything_was_sent(contract, path, status, reason, body):
    """with exc_info before anything was sent it replaces; an empty block is nothing."""
    response = contract.get(path)
    assert (response.status, response.reason, response.body) == (status, reason, body)
    shown = [response.all(name) for name in ("X-First", "X-Second", "Content-Type")]
    assert shown == [[], ["yes"], ["text/plain"]]


def test_exc_info_raises_again_after_output(contract):
    """after that it re-raises; the connection is closed, as the body is not whole."""
    name = contract.name()
    head, rest = contract.raw(f"/reraised?note={name}")
    assert head.status == 200 and b"out\n" in rest and not rest.endswith(b"0\r\n\r\n")
    assert contract.notes(name) == ["raised the fixture breaks"]


def test_the_traceback_is_dropped(contract):
    """the traceback is dropped."""
    assert contract.get("/traceback_dropped").body == b"dropped"


@pytest.mark.parametrize("size", [5, 1000, 200_000])
@pytest.mark.parametrize("mixed", ["", "yes"])
def test_write(contract, size, mixed):
    """the first write() sends the head; small and large, alone and before an iterable."""
    response = contract.get(f"/written?size={size}&mixed={mixed}")
    assert response.body == b"w" * size + b"W" * size + (b"iI" if mixed else b"")
    assert response.framing == "chunked"


def test_write_with_a_content_length(contract):
    """write() and a declared length."""
    response = contract.get("/written_length")
    assert (response.framing, response.body) == ("length", b"helloworld")


def test_write_goes_out_at_once(contract):
    """each block goes to the kernel before the next: written ones too."""
    with contract.connect() as connection, Gate(contract) as gate:
        connection.send(client.encode("GET", f"/written_gate?gate={gate.name}"))
        head = connection.read_head()
        assert connection.read_chunk() == b"first"
        gate.open()
        assert connection.read_body(head).body == b"second"


@pytest.mark.parametrize(("status", "code", "reason"), [
    ("299%20Fine%20Enough", 299, "Fine Enough"), ("404%20Nicht%20da", 404, "Nicht da"), ("599%20X", 599, "X"),
    ("999%20Reason", 999, "Reason"),
])
def test_custom_status_and_reason(contract, status, code, reason):
    """Status '999 Reason'."""
    response = contract.get(f"/reason?status={status}")
    assert (response.status, response.reason, response.body) == (code, reason, b"fine")


def test_response_headers(contract):
    """headers a list of (str, str): repeated ones stay apart, in order; latin-1 goes out as bytes."""
    response = contract.get("/headers")
    assert response.all("Set-Cookie") == ["a=1", "b=2"]
    shown = [response.header(name) for name in ("X-Latin", "X-Empty", "X-Tab")]
    assert shown == ["caf\xe9", "", "a\tb"]


# body


@pytest.mark.parametrize("shape", ["one", "tuple"])
@control_differs("it adds no length to any body")
def test_one_block_has_a_content_length(contract, shape):
    """len 1 gives Content-Length."""
    response = contract.get(f"/body?shape={shape}")
    assert (response.framing, response.header("Content-Length"), response.body) == ("length", "5", b"hello")


@pytest.mark.parametrize(("shape", "body"), [
    ("several", b"abcdef"), ("generator", b"abcdef"), ("leading", b"afterend"), ("leading_generator", b"afterend"),
    ("bytes", b"sequence"), ("many", b"".join(b"%07d\n" % number for number in range(50_000))),
])
def test_other_bodies_are_chunked_on_1_1_and_end_with_the_connection_on_1_0(contract, shape, body):
    """any iterable; otherwise chunked on 1.1, close on 1.0."""
    response = contract.get(f"/body?shape={shape}")
    assert (response.framing, response.body) == ("chunked", body)
    head, rest = contract.raw(f"/body?shape={shape}", version="1.0")
    assert (head.header("Transfer-Encoding"), rest) == (None, body)


def test_a_connection_is_kept_behind_a_chunked_body(contract):
    """chunked on 1.1: the next response follows."""
    with contract.connect() as connection:
        for _ in range(3):
            assert connection.request("GET", "/body?shape=generator").body == b"abcdef"


def test_a_large_block(contract):
    """one block of three megabytes."""
    assert contract.get("/body?shape=large").body == b"x" * 3_000_000


@pytest.mark.parametrize("shape", ["empty", "one_empty"])
@control_differs("it adds no length to any body")
def test_an_empty_body_has_a_length_of_0(contract, shape):
    """an empty list gives Content-Length: 0."""
    response = contract.get(f"/body?shape={shape}")
    assert (response.status, response.header("Content-Length"), response.body) == (200, "0", b"")


@pytest.mark.parametrize("path", ["/gate", "/gate_length"])
def test_each_block_is_out_before_the_next_is_asked_for(contract, path):
    """each block goes to the kernel before the next is asked for: the app waits until the client has the first."""
    with contract.connect() as connection, Gate(contract) as gate:
        connection.send(client.encode("GET", f"{path}?gate={gate.name}"))
        head = connection.read_head()
        assert (connection.read_chunk() if path == "/gate" else connection.read_exactly(5)) == b"first"
        gate.open()
        rest = connection.read_body(head).body if path == "/gate" else connection.read_exactly(6)
        assert rest == b"second"


@pytest.mark.parametrize("path", ["/long_body", "/long_one"])
def test_a_body_is_cut_at_the_declared_length(contract, path):
    """cut at the declared length; the next response is in its place, or the connection closes."""
    name = contract.name()
    with contract.connect() as connection:
        assert connection.request("GET", f"{path}?note={name}").body == b"hellowo"
        try:
            assert connection.request("GET", "/body?shape=generator").body == b"abcdef"
        except (client.Closed, ConnectionError):
            assert connection.buffer == b""
    if path == "/long_body":
        assert contract.notes(name) == ["close"]


def test_too_few_bytes_close_the_connection(contract):
    """too few bytes closes the connection."""
    name = contract.name()
    with contract.connect() as connection:
        connection.send(client.encode("GET", f"/short_body?note={name}"))
        head = connection.read_head()
        assert (head.header("Content-Length"), connection.read_to_end()) == ("20", b"hello")
    assert contract.notes(name) == ["close"]


@pytest.mark.parametrize("path", ["/head", "/closing", "/body?shape=one"])
def test_head_has_no_body(contract, path):
    """none for HEAD: the next response follows at once, and the head is that of GET."""
    with contract.connect() as connection:
        head = connection.request("HEAD", path)
        assert head.status == 200
        assert connection.request("GET", "/head").body == b"hello"
    if path == "/head":
        assert head.header("Content-Length") == "5"


@pytest.mark.parametrize("status", ["204%20No%20Content", "304%20Not%20Modified"])
def test_statuses_without_a_body(contract, status):
    """none for 204, 304: neither bytes nor a coding, and the connection stays in step."""
    name = contract.name()
    with contract.connect() as connection:
        response = connection.request("GET", f"/bodyless?status={status}&note={name}")
        assert response.status in (204, 304)
        assert (response.all("Transfer-Encoding"), response.all("Content-Length")) == ([], [])
        assert connection.request("GET", "/body?shape=generator").body == b"abcdef"
    assert contract.notes(name) == ["close"]


def test_a_304_claims_no_length(contract):
    """Its Content-Length would be that of the 200 (RFC 9110 §8.6), and an empty list does not say that it is 0."""
    for method in ("GET", "HEAD"):
        response = contract.get("/unchanged", method=method)
        assert (response.status, response.all("Content-Length")) == (304, [])


def test_a_len_that_fails_says_nothing(contract):
    """"If a call to len(iterable) succeeds": one that fails is no error."""
    response = contract.get("/body?shape=lengthless")
    assert (response.status, response.body) == (200, b"lengthless")


@pytest.mark.parametrize("status", ["100%20Continue", "101%20Switching%20Protocols", "103%20Early%20Hints"])
def test_interim_statuses_have_no_body(contract, status):
    """none for 1xx: whatever is made of such a status, the block is not in it."""
    _, rest = contract.raw(f"/bodyless?status={status}")
    assert b"never" not in rest
    contract.lives()


@pytest.mark.parametrize(("path", "method"), [
    ("/closing", "GET"), ("/closing", "HEAD"), ("/closing_list", "GET"), ("/closing_list", "HEAD"),
    ("/closing_generator", "GET"), ("/closing_generator", "HEAD"), ("/head", "HEAD"), ("/positional", "GET"),
])
def test_close_is_called(contract, path, method):
    """close() always, and once (HEAD)."""
    name = contract.name()
    contract.get(f"{path}?note={name}", method=method)
    contract.notes(name)
    contract.lives()
    assert contract.notes(name).count("close") == 1


@pytest.mark.parametrize("path", ["/closing?broken=yes&", "/closing_first?", "/closing_unstarted?"])
def test_close_is_called_after_an_error(contract, path):
    """close() always (error)."""
    name = contract.name()
    contract.raw(f"{path}note={name}")
    assert contract.notes(name) == ["close"]
    contract.lives()


def test_close_is_called_when_the_client_is_gone(contract):
    """close() always (client gone)."""
    name = contract.name()
    with contract.connect() as connection:
        connection.send(client.encode("GET", f"/endless?note={name}"))
        assert connection.read_head().status == 200
    assert contract.notes(name, 2) == ["begin", "close"]
    contract.lives()


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_close_that_speaks_is_answered(contract, method):
    """write() and start_response() within close(): neither waits for the other."""
    if servers.kind == "gunicorn":
        pytest.skip("its write() takes bytes behind the last block")
    name = contract.name()
    contract.get(f"/closing_speaks?note={name}", method=method)
    assert contract.notes(name, 3) == ["RuntimeError", "KeyError", "close"]
    contract.lives()


def test_a_close_that_breaks_hurts_nobody(contract):
    """close() raises behind a whole body."""
    name = contract.name()
    assert contract.get(f"/closing_breaks?note={name}").body == b"full"
    assert contract.notes(name) == ["close"]
    contract.lives()


# file_wrapper

NUMBERED = b"".join(b"%05d\n" % number for number in range(50_000))


@pytest.mark.parametrize("kind", ["file", "raw", "bytesio", "reader"])
def test_file_wrapper(contract, kind):
    """a real file is sent, other objects are iterated."""
    response = contract.get(f"/wrapped?kind={kind}&note={contract.name()}")
    assert (response.status, response.body) == (200, NUMBERED)


@pytest.mark.parametrize("kind", [
    differing("file", "it starts where Python's buffer ends"), "raw", "bytesio",
])
def test_file_wrapper_starts_at_the_current_offset(contract, kind):
    """sent from its current offset, which is that of Python's tell()."""
    assert contract.get(f"/wrapped?kind={kind}&offset=60000").body == NUMBERED[60006:]


@pytest.mark.parametrize("kind", ["file", "raw", "bytesio", "reader"])
def test_file_wrapper_honours_content_length(contract, kind):
    """honours Content-Length."""
    with contract.connect() as connection:
        for _ in range(2):
            response = connection.request("GET", f"/wrapped?kind={kind}&length=100001")
            assert (response.framing, response.body) == ("length", NUMBERED[:100001])


def test_file_wrapper_on_1_0_and_for_head(contract):
    """a file on 1.0 ends with the connection; none for HEAD."""
    assert contract.raw("/wrapped?kind=file", version="1.0")[1] == NUMBERED
    assert contract.raw("/wrapped?kind=file&length=300000", method="HEAD")[1] == b""


@pytest.mark.parametrize("path", ["/wrapped?kind=reader&", "/wrapped_closed?"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_file_wrapper_closes(contract, path, method):
    """close() of the object is called."""
    name = contract.name()
    contract.get(f"{path}note={name}", method=method)
    assert contract.notes(name) == ["close"]


def test_file_wrapper_is_a_class(contract):
    """an instance: isinstance() works, it can be iterated, and has close()."""
    assert contract.json("/wrapped_class") == [True, ["abcd", "ef"], True]


def test_file_wrapper_behind_written_bytes(contract):
    """an iterable like another, where bytes were written before."""
    assert contract.get("/wrapped_behind_write").body == b"written\n" + NUMBERED


def test_file_wrapper_inside_a_middleware(contract):
    """an iterable like another, where middleware takes the blocks."""
    assert contract.get("/wrapped_inside").body == b"ABCDEF"


# wsgiref.validate


@pytest.mark.parametrize("path", [
    "positional", "in_next", "written", differing("replaced", "it holds on to the first Content-Length"),
    "closing", "head", "wrapped_inside", "exc_info_none",
    "body?shape=one", "body?shape=several", "body?shape=generator", "body?shape=leading", "body?shape=empty",
])
def test_the_validator_finds_nothing(contract, path):
    """all of it as wsgiref.validate sees it."""
    response = contract.get(f"/validated/{path}")
    assert response.status in (200, 201, 500) and (response.status != 500 or response.reason == "Mended")


def test_the_validator_finds_nothing_in_the_input(contract):
    """wsgi.input as wsgiref.validate sees it."""
    headers = [("Content-Type", "text/x")]
    response = contract.get("/validated/sized", method="POST", headers=headers, body=b"a\nbcdef\ng")
    assert (response.status, response.body) == (200, b"a\nbcdef\ng")
