"""Applications that break PEP 3333: each costs its own request a 500, or its connection once the head is out; the
reason goes to stderr and never to the client, and the worker serves on.
"""

import re

import pytest

import client
import contract_apps
from test_contract import contract, control_differs, differing  # noqa: F401: the fixture is used by name

# What an error looks like on stderr: the trace of a raised one, or at least the line that ends every trace.
SAID = re.compile(r"^(Traceback \(most recent call last\):|.*\b\w+(Error|Exception|Exit|Unusual)\b)", re.MULTILINE)
# What the response must not have of it.
HIDDEN = ("Traceback", "Error", "the fixture breaks", "contract_apps", ".py", "secret")


def is_500(contract, target, trace=True, **rest):
    """A 500 that says nothing, a trace on stderr, and a server that lives."""
    start = len(contract.server.stderr_text())
    response = contract.get(target, **rest)
    assert (response.status, response.reason) == (500, "Internal Server Error")
    shown = str(response.headers) + response.body.decode("latin-1")
    shown = shown.replace("Internal Server Error", "")
    assert not [word for word in HIDDEN if word in shown]
    assert b"never" not in response.body
    text = contract.said(start, "Traceback" if trace else "Error")
    assert "Traceback" in text if trace else SAID.search(text), text
    contract.lives()
    return text


def is_cut(contract, target):
    """A body that the client sees to be broken off, the reason on stderr, and a server that lives."""
    start = len(contract.server.stderr_text())
    head, rest = contract.raw(target)
    assert head.status == 200
    assert not rest.endswith(b"0\r\n\r\n")
    assert not [word for word in HIDDEN if word.encode() in rest]
    assert SAID.search(contract.said(start, "Error"))
    contract.lives()
    return head, rest


@pytest.mark.parametrize("when", ["before", "after", "next"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_an_exception_before_the_head(contract, when, method):
    """An exception before the headers is a 500 with a traceback in wsgi.errors, never in the response."""
    text = is_500(contract, f"/raises?when={when}", method=method)
    assert "the fixture breaks" in text and "contract_apps.py" in text


def test_an_exception_for_head(contract):
    """The same without a body."""
    assert contract.get("/raises?when=before", method="HEAD").status == 500
    contract.lives()


@pytest.mark.parametrize("path", ["/raises_late?", "/raises_late?length=100", "/written_from_body?"])
def test_an_exception_behind_the_head(contract, path):
    """A closed connection once the head is out."""
    _, rest = is_cut(contract, path)
    assert b"begin" in rest or b"before" in rest


@pytest.mark.parametrize("path", [
    differing("/raises_exit", "it ends its worker"), differing("/raises_base", "it ends its worker"),
])
def test_exceptions_that_are_no_exception(contract, path):
    """SystemExit and other BaseExceptions cost their request, not the worker."""
    is_500(contract, path)


def test_a_secret_in_an_exception_stays_here(contract):
    """never in the response: neither text nor frames."""
    text = is_500(contract, "/leaks?mark=17")
    assert "secret-17" in text


@pytest.mark.parametrize("what", [
    differing(key, "it sends the head before it looks at the block") if key not in ("none", "int") else key
    for key in contract_apps.RETURNED
])
def test_a_body_that_is_no_iterable_of_bytes(contract, what):
    """only `bytes`: a str, a list or tuple of str, None, an int and others are a 500."""
    is_500(contract, f"/returned?what={what}", trace=False)


def test_a_str_behind_bytes(contract):
    """only `bytes`: once the head is out the connection closes."""
    name = contract.name()
    _, rest = is_cut(contract, f"/returned_late?note={name}")
    assert b"text" not in rest
    assert contract.notes(name) == ["close"]


@control_differs("it sends the head before it looks at the block")
def test_a_str_in_write(contract):
    """only `bytes`, in write() as well."""
    is_500(contract, "/written_str")


@control_differs("it says nothing about an error in close()")
def test_a_generator_that_yields_after_close(contract):
    """The response is whole, the error goes to stderr, nothing more goes out."""
    start = len(contract.server.stderr_text())
    _, rest = contract.raw("/after_close")
    assert rest == b"hello"
    assert "generator ignored GeneratorExit" in contract.said(start, "GeneratorExit")
    contract.lives()


# What the control drops in silence, or sends as it is.
LET_THROUGH = ("pair_str", "tuple", "connection", "keep_alive", "transfer_encoding", "upgrade", "te", "length_negative",
               "length_twice")


@pytest.mark.parametrize("what", [
    differing(key, "it drops or sends such a field") if key in LET_THROUGH else key for key in contract_apps.BAD_HEADERS
])
def test_headers_that_must_not_go_out(contract, what):
    """headers a list of (str, str) without control characters, no hop-by-hop; nothing of them is sent."""
    is_500(contract, f"/bad_headers?what={what}", trace=False)


@pytest.mark.parametrize("what", contract_apps.BAD_STATUS)
def test_statuses_that_must_not_go_out(contract, what):
    """Status '999 Reason': three digits, a space and a reason, as str."""
    is_500(contract, f"/bad_status?what={what}", trace=False)


@pytest.mark.parametrize("path", ["/never", "/never?empty=yes"])
def test_start_response_is_never_called(contract, path):
    """A body without a head is a 500."""
    is_500(contract, path, trace=False)


def test_start_response_is_called_twice(contract):
    """a second call without exc_info is an error, and a 500 where nobody catches it."""
    is_500(contract, "/twice_unseen")


def test_start_response_without_headers(contract):
    """A call with too few arguments is the app's TypeError."""
    assert "TypeError" in is_500(contract, "/no_arguments")


def test_what_follows_a_fault_on_its_connection(contract):
    """A response that follows a 500 on one connection is its own; a closed connection is right as well."""
    with contract.connect() as connection:
        for _ in range(3):
            assert connection.request("GET", "/raises?when=before").status == 500
            try:
                assert connection.request("GET", "/body?shape=one").body == b"hello"
            except (client.Closed, ConnectionError):
                connection.close()
                connection.__init__(contract.server.host, contract.server.port)


def test_many_faults_in_a_row(contract):
    """The worker lives: two hundred broken requests leave nothing behind."""
    for number in range(200):
        contract.raw(("/raises?when=before", "/raises_late?", "/returned?what=none", "/short_body")[number % 4])
    contract.lives()
