"""WSGI applications, one for each behaviour of PEP 3333 that the tests look at.

`app` passes a request to the function named by the first segment of its path, and gives back what that function
gives, untouched: the server meets each fixture as if it stood alone. Names in the query string choose variants.
Evidence that a client cannot see, such as a call of close(), goes to files below CONTRACT_DIR, so that it holds for
a server of several processes too.
"""

import io
import json
import os
import select
import sys
from pathlib import Path
from urllib.parse import parse_qs

TEXT = [("Content-Type", "text/plain")]
APPS = {}


def fixture(function):
    """Serve the function at /its_name."""
    APPS[function.__name__] = function
    return function


def app(environ, start_response):
    """Call the fixture that the path names."""
    path = environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]
    return APPS[path.split("/")[1]](environ, start_response)


def argument(environ, name, default=""):
    """One value of the query string."""
    return parse_qs(environ.get("QUERY_STRING", "")).get(name, [default])[0]


def note(environ, text):
    """Leave a line in the file that the request names; one write of O_APPEND, so that lines never mix."""
    name = argument(environ, "note")
    if name:
        descriptor = os.open(Path(os.environ["CONTRACT_DIR"]) / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, text.encode() + b"\n")
        os.close(descriptor)


def wait(environ):
    """Wait until the test writes a byte to the pipe that the request names; the limit keeps a failed test short."""
    descriptor = os.open(Path(os.environ["CONTRACT_DIR"]) / argument(environ, "gate"), os.O_RDONLY)
    try:
        select.select([descriptor], [], [], 10)
        os.read(descriptor, 1)
    finally:
        os.close(descriptor)


def as_json(start_response, value):
    """A complete answer."""
    body = json.dumps(value).encode()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]


class Closing:
    """An iterator over blocks that notes that it was closed; callables among the blocks are called for theirs."""

    def __init__(self, environ, blocks):
        self.environ = environ
        self.blocks = iter(blocks)

    def __iter__(self):
        return self

    def __next__(self):
        block = next(self.blocks)
        return block() if callable(block) else block

    def close(self):
        note(self.environ, "close")


def fail():
    """What an app does that breaks."""
    raise RuntimeError("the fixture breaks")


# environ


@fixture
def environ(environ, start_response):
    """Everything in environ, and what its types are."""
    values = {key: value for key, value in environ.items() if isinstance(value, str)}
    return as_json(start_response, {
        "exact dict": type(environ) is dict,
        "not str": sorted(key for key, value in environ.items() if "." not in key and type(value) is not str),
        "not latin-1": sorted(key for key, value in values.items() if any(ord(one) > 255 for one in value)),
        "keys are str": all(type(key) is str for key in environ),
        "values": values,
        "version": [type(environ["wsgi.version"]).__name__, list(environ["wsgi.version"])],
        "flags": {key: environ[f"wsgi.{key}"] for key in ("multithread", "multiprocess", "run_once")},
        "input_terminated": environ.get("wsgi.input_terminated"),
        "file_wrapper": callable(environ.get("wsgi.file_wrapper")),
        "methods": [f"{key}.{name}" for key, name in METHODS if not callable(getattr(environ[key], name, None))],
    })


METHODS = [("wsgi.input", name) for name in ("read", "readline", "readlines", "__iter__")]
METHODS += [("wsgi.errors", name) for name in ("write", "writelines", "flush")]


@fixture
def environ_changed(environ, start_response):
    """Change the environ in every way a dictionary can be changed, and say what was there before."""
    before = environ.get("fixture.mark", "nothing")
    host = environ["SERVER_NAME"], environ["wsgi.url_scheme"]
    environ["fixture.mark"] = "left behind"
    environ["wsgi.url_scheme"] = "changed"
    environ.pop("SERVER_NAME")
    environ.setdefault("HTTP_X_ADDED", "1")
    environ.update({"REQUEST_METHOD": "CHANGED"})
    return as_json(start_response, [before, *host])


# wsgi.input

READERS = {
    "read": lambda data: [data.read()],
    "read_n": lambda data: [data.read(4), data.read(3), data.read()],
    "read_large": lambda data: [data.read(10_000_000)],
    "read_minus": lambda data: [data.read(-1)],
    "read_zero": lambda data: [data.read(0), data.read()],
    "read_twice": lambda data: [data.read(), data.read(), data.read(5), data.read(-1), data.read(0)],
    "readline": lambda data: [data.readline() for _ in range(5)],
    "readline_n": lambda data: [data.readline(3), data.readline(100), data.readline(2), data.readline()],
    "readline_minus": lambda data: [data.readline(-1), data.readline(0), data.readline()],
    "readline_read": lambda data: [data.readline(), data.read(2), data.readline(), data.read()],
    "readline_iterate": lambda data: [data.readline(2), *data],
    "readlines": lambda data: data.readlines(),
    "readlines_hint": lambda data: [*data.readlines(5), *data.readlines()],
    "readlines_large": lambda data: data.readlines(1000),
    "iterate": list,
    "iterate_next": lambda data: [next(iter(data)), data.read()],
    "end": lambda data: [data.read(), *(data.read(1) for _ in range(3)), *(data.readline() for _ in range(3)),
                         *data.readlines(), *data],
}


@fixture
def read(environ, start_response):
    """Read the body in the way that is asked for; the pieces as latin-1, and whether all were exactly bytes."""
    pieces = READERS[argument(environ, "how")](environ["wsgi.input"])
    return as_json(start_response, [
        [piece.decode("latin-1") for piece in pieces], all(type(piece) is bytes for piece in pieces),
    ])


@fixture
def echo(environ, start_response):
    """The body, as it came."""
    body = environ["wsgi.input"].read()
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]


@fixture
def unread(environ, start_response):
    """An answer that leaves the body unread."""
    start_response("200 OK", [*TEXT, ("Content-Length", "6")])
    return [b"unread"]


# wsgi.errors


@fixture
def errors(environ, start_response):
    """Write to wsgi.errors in each way."""
    mark = argument(environ, "mark")
    stream = environ["wsgi.errors"]
    stream.write(f"{mark} one\n")
    stream.writelines([f"{mark} two\n", f"{mark} three\n"])
    stream.write(f"{mark} fo")
    stream.write("ur\n")
    stream.write(f"{mark} \u00fc\n")
    stream.flush()
    return as_json(start_response, "written")


# start_response


@fixture
def positional(environ, start_response):
    """A call by position, with a list that must be left alone, and a look at what comes back."""
    headers = [*TEXT, ("X-Kept", "yes")]
    copy = list(headers)
    write = start_response("200 OK", headers)
    note(environ, f"{callable(write)} {headers == copy}")
    return Closing(environ, [b"one ", lambda: note(environ, f"{headers == copy}") or b"two"])


@fixture
def exc_info_none(environ, start_response):
    """None by position stands for no exc_info."""
    start_response("200 OK", TEXT, None)
    return [b"none"]


@fixture
def in_next(environ, start_response):
    """start_response is called inside the first next(), for this is a generator."""
    start_response("201 Created", [*TEXT, ("X-Late", "yes")])
    yield b"late"


@fixture
def replaced_in_next(environ, start_response):
    """The headers are kept until the first block that is not empty, and can be replaced until then."""
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    yield b""
    try:
        fail()
    except RuntimeError:
        start_response("503 Replaced", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    yield b"replaced"


@fixture
def kept(environ, start_response):
    """No head goes out before the first block that is not empty."""
    start_response("200 OK", TEXT)
    yield b""
    wait(environ)
    yield b"done"


@fixture
def replaced(environ, start_response):
    """A second call with exc_info before output replaces status and headers."""
    start_response("200 OK", [*TEXT, ("X-First", "yes"), ("Content-Length", "99")])
    try:
        fail()
    except RuntimeError:
        start_response("500 Mended", [*TEXT, ("X-Second", "yes")], sys.exc_info())
    return [b"mended"]


@fixture
def reraised(environ, start_response):
    """A call with exc_info after output raises the exception that it was given."""
    start_response("200 OK", TEXT)
    yield b"out\n"
    try:
        fail()
    except RuntimeError:
        try:
            start_response("500 Too Late", TEXT, sys.exc_info())
        except RuntimeError as error:
            note(environ, f"raised {error}")
            raise
    note(environ, "not raised")


@fixture
def traceback_dropped(environ, start_response):
    """The server keeps nothing of exc_info: an object that only the traceback holds is gone after the call."""
    import weakref

    class Local:
        """What a frame of the traceback holds."""

    held = []

    def broken():
        local = Local()
        held.append(weakref.ref(local))
        raise RuntimeError("dropped")

    try:
        broken()
    except RuntimeError:
        start_response("500 Dropped", TEXT, sys.exc_info())
    import gc

    gc.collect()
    yield b"dropped" if held[0]() is None else b"held"


@fixture
def twice(environ, start_response):
    """A second call without exc_info is an error, seen here."""
    start_response("200 OK", [*TEXT, ("X-First", "yes")])
    try:
        start_response("201 Again", TEXT)
    except Exception as error:
        note(environ, "error " + str(isinstance(error, Exception)))
        return [b"raised"]
    return [b"not raised"]


@fixture
def written(environ, start_response):
    """write() alone, mixed with an iterable, small or large; an empty one first."""
    size = int(argument(environ, "size", "5"))
    write = start_response("200 OK", TEXT)
    write(b"w" * size)
    write(b"")
    write(b"W" * size)
    return [b"i", b"I"] if argument(environ, "mixed") else []


@fixture
def written_length(environ, start_response):
    """write() with a Content-Length."""
    write = start_response("200 OK", [*TEXT, ("Content-Length", "10")])
    write(b"hello")
    return [b"world"]


@fixture
def written_gate(environ, start_response):
    """What write() was given is out before it is followed by anything."""
    write = start_response("200 OK", TEXT)
    write(b"first")
    wait(environ)
    write(b"second")
    return []


@fixture
def written_str(environ, start_response):
    """write() takes bytes only."""
    start_response("200 OK", TEXT)("text")
    return []


@fixture
def written_from_body(environ, start_response):
    """An exception after write(): the head is out."""
    start_response("200 OK", TEXT)(b"before")
    fail()


@fixture
def reason(environ, start_response):
    """A status and reason of the app's own."""
    start_response(argument(environ, "status", "299 Fine Enough"), TEXT)
    return [b"fine"]


@fixture
def headers(environ, start_response):
    """Values with bytes beyond ASCII, a repeated name, an empty value, names in the app's own case."""
    start_response("200 OK", [
        *TEXT, ("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("X-LATIN", "caf\xe9"), ("x-empty", ""), ("X-Tab", "a\tb"),
    ])
    return [b"headers"]


# bodies

BODIES = {
    "one": lambda: [b"hello"],
    "tuple": lambda: (b"hello",),
    "several": lambda: [b"a", b"bc", b"def"],
    "generator": lambda: (block for block in (b"a", b"bc", b"def")),
    "empty": lambda: [],
    "one_empty": lambda: [b""],
    "none_generator": lambda: iter(()),
    "leading": lambda: [b"", b"", b"after", b"", b"end"],
    "leading_generator": lambda: iter([b"", b"", b"after", b"", b"end"]),
    "large": lambda: [b"x" * 3_000_000],
    "many": lambda: (b"%07d\n" % number for number in range(50_000)),
    "bytes": lambda: Sequence([b"seq", b"uence"]),
    "lengthless": lambda: Lengthless([b"length", b"less"]),
}


class Sequence:
    """An iterable that has only the old protocol of __getitem__."""

    def __init__(self, blocks):
        self.blocks = blocks

    def __getitem__(self, index):
        return self.blocks[index]


class Lengthless(Sequence):
    """An iterable that knows that it has no length."""

    def __len__(self):
        raise TypeError("its length is not known")


@fixture
def body(environ, start_response):
    """A body of the shape that is asked for, with the headers that are asked for."""
    start_response("200 OK", TEXT)
    return BODIES[argument(environ, "shape")]()


@fixture
def closing(environ, start_response):
    """An iterator class with close(); it may break half way."""
    start_response("200 OK", TEXT)
    end = fail if argument(environ, "broken") else b"end"
    return Closing(environ, [b"begin ", end])


@fixture
def closing_first(environ, start_response):
    """An iterator with close() that breaks before its first block."""
    start_response("200 OK", TEXT)
    return Closing(environ, [fail])


@fixture
def closing_list(environ, start_response):
    """A list with close(): len() is there as well."""

    class List(list):
        """A list of blocks."""

        def close(self):
            note(environ, "close")

    start_response("200 OK", TEXT)
    return List([b"listed"])


@fixture
def closing_generator(environ, start_response):
    """A generator has a close() of its own, that reaches its finally."""
    start_response("200 OK", TEXT)
    try:
        yield b"block"
        yield b"block"
    finally:
        note(environ, "close")


@fixture
def closing_unstarted(environ, start_response):
    """close() is called though start_response never was."""
    return Closing(environ, [b"block"])


@fixture
def closing_speaks(environ, start_response):
    """close() calls write(), and start_response with exc_info: too late for both, which they say."""
    write = start_response("200 OK", TEXT)

    class Speaks(Closing):
        """An iterator whose close() still has something to say."""

        def close(self):
            for speak in (
                lambda: write(b"late"),
                lambda: start_response("500 Late", [], (KeyError, KeyError("own"), None)),
            ):
                try:
                    speak()
                except Exception as error:
                    note(environ, type(error).__name__)
            super().close()

    return Speaks(environ, [b"block"])


@fixture
def closing_breaks(environ, start_response):
    """close() itself breaks, when all is sent."""
    class Breaks(Closing):
        """An iterator whose close() breaks."""

        def close(self):
            super().close()
            fail()

    start_response("200 OK", [*TEXT, ("Content-Length", "4")])
    return Breaks(environ, [b"full"])


@fixture
def endless(environ, start_response):
    """Blocks without end, until the server finds that the client is gone."""
    start_response("200 OK", TEXT)

    def blocks():
        """Large blocks fill every buffer between server and client."""
        while True:
            yield b"z" * 65536

    note(environ, "begin")
    return Closing(environ, blocks())


@fixture
def gate(environ, start_response):
    """The second block is asked for when the first has arrived."""
    start_response("200 OK", TEXT)

    def second():
        """Wait for the client."""
        note(environ, "asked")
        wait(environ)
        return b"second"

    return Closing(environ, [b"first", second])


@fixture
def gate_length(environ, start_response):
    """The same with a Content-Length."""
    start_response("200 OK", [*TEXT, ("Content-Length", "11")])
    yield b"first"
    wait(environ)
    yield b"second"


@fixture
def long_body(environ, start_response):
    """More blocks than the Content-Length says."""
    start_response("200 OK", [*TEXT, ("Content-Length", "7")])
    return Closing(environ, [b"hello", b"world", b"more"])


@fixture
def long_one(environ, start_response):
    """One block, larger than the Content-Length says."""
    start_response("200 OK", [*TEXT, ("Content-Length", "7")])
    return [b"helloworld"]


@fixture
def short_body(environ, start_response):
    """Fewer bytes than the Content-Length says."""
    start_response("200 OK", [*TEXT, ("Content-Length", "20")])
    return Closing(environ, [b"hello"])


@fixture
def bodyless(environ, start_response):
    """A status that has no body, with blocks all the same."""
    start_response(argument(environ, "status"), [])
    return Closing(environ, [b"never"])


@fixture
def unchanged(environ, start_response):
    """A 304 as frameworks make it: an empty list, and no length."""
    start_response("304 Not Modified", [("ETag", '"one"')])
    return []


@fixture
def head(environ, start_response):
    """An answer to HEAD with the length of the body that GET has."""
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    return Closing(environ, [b"hello"])


# file_wrapper


class Reader:
    """An object that has only read() and close()."""

    def __init__(self, environ, data):
        self.environ = environ
        self.data = io.BytesIO(data)

    def read(self, size):
        return self.data.read(size)

    def close(self):
        note(self.environ, "close")


def numbered_file():
    """A file of 300000 bytes that shows which part of it arrives."""
    path = Path(os.environ["CONTRACT_DIR"]) / f"numbered-{os.getpid()}"
    if not path.exists():
        path.write_bytes(b"".join(b"%05d\n" % number for number in range(50_000)))
    return path


@fixture
def wrapped(environ, start_response):
    """A file, an io.BytesIO or a thing with read() in wsgi.file_wrapper."""
    kind = argument(environ, "kind")
    length = argument(environ, "length")
    headers = TEXT + ([("Content-Length", length)] if length else [])
    start_response("200 OK", headers)
    offset = int(argument(environ, "offset", "0"))
    if kind == "file":
        source = open(numbered_file(), "rb")
    elif kind == "raw":
        source = open(numbered_file(), "rb", buffering=0)
    elif kind == "bytesio":
        source = io.BytesIO(numbered_file().read_bytes())
    else:
        return environ["wsgi.file_wrapper"](Reader(environ, numbered_file().read_bytes()), 4096)
    # A few bytes read first: the current offset is Python's, not that of the buffer's descriptor.
    source.seek(offset)
    if offset:
        source.read(6)
    return environ["wsgi.file_wrapper"](source, 8192)


@fixture
def wrapped_behind_write(environ, start_response):
    """A real file in wsgi.file_wrapper, behind bytes that were written."""
    start_response("200 OK", TEXT)(b"written\n")
    return environ["wsgi.file_wrapper"](open(numbered_file(), "rb"), 8192)


@fixture
def wrapped_closed(environ, start_response):
    """A real file whose close() is noted."""

    class Noted(io.FileIO):
        """A file that notes its close()."""

        def close(self):
            if not self.closed:
                note(environ, "close")
            super().close()

    start_response("200 OK", TEXT)
    return environ["wsgi.file_wrapper"](Noted(numbered_file()))


@fixture
def wrapped_class(environ, start_response):
    """file_wrapper is a class whose instances are iterable, so that frameworks can ask isinstance()."""
    wrapper = environ["wsgi.file_wrapper"]
    one = wrapper(io.BytesIO(b"abcdef"), 4)
    instance = isinstance(wrapper, type) and isinstance(one, wrapper)
    return as_json(start_response, [instance, [block.decode() for block in one], hasattr(one, "close")])


@fixture
def wrapped_inside(environ, start_response):
    """A middleware may iterate over a wrapper instead of passing it on."""
    start_response("200 OK", TEXT)
    for block in environ["wsgi.file_wrapper"](io.BytesIO(b"abcdef"), 4):
        yield block.upper()


# applications that break


@fixture
def raises(environ, start_response):
    """Break before start_response, after it, or in the first next()."""
    when = argument(environ, "when")
    if when == "before":
        fail()
    start_response("200 OK", TEXT)
    if when == "after":
        fail()
    return Closing(environ, [fail])


@fixture
def raises_late(environ, start_response):
    """Break behind the first block, with or without a Content-Length."""
    length = argument(environ, "length")
    start_response("200 OK", TEXT + ([("Content-Length", length)] if length else []))
    return Closing(environ, [b"begin", fail])


@fixture
def raises_exit(environ, start_response):
    """SystemExit in an app must not end the server."""
    raise SystemExit(3)


@fixture
def raises_base(environ, start_response):
    """An exception that is no Exception."""

    class Unusual(BaseException):
        """Not caught by `except Exception`."""

    raise Unusual("the fixture breaks")


RETURNED = {
    "str": lambda: "text",
    "str_list": lambda: ["text"],
    "str_tuple": lambda: ("text", "more"),
    "none": lambda: None,
    "int": lambda: 5,
    "int_list": lambda: [1, 2],
    "none_list": lambda: [None],
    "bytearray_list": lambda: [bytearray(b"text")],
    "str_generator": lambda: (one for one in ["text"]),
}


@fixture
def returned(environ, start_response):
    """Something that is no iterable of bytes."""
    start_response("200 OK", TEXT)
    return RETURNED[argument(environ, "what")]()


@fixture
def returned_late(environ, start_response):
    """A str behind a block that was right."""
    start_response("200 OK", TEXT)
    return Closing(environ, [b"begin", "text"])


@fixture
def after_close(environ, start_response):
    """A generator that yields when it is closed, which is a RuntimeError of Python's."""
    start_response("200 OK", [*TEXT, ("Content-Length", "5")])
    try:
        yield b"hello"
        yield b"more"
    finally:
        yield b"after close"


BAD_HEADERS = {
    "name_bytes": [(b"X-Name", "value")],
    "value_bytes": [("X-Name", b"value")],
    "value_int": [("Content-Length", 5)],
    "value_none": [("X-Name", None)],
    "name_empty": [("", "value")],
    "name_space": [("X Name", "value")],
    "name_colon": [("X-Name:", "value")],
    "name_newline": [("X-Name\r\nX-Other", "value")],
    "value_newline": [("X-Name", "value\r\nX-Split: 1")],
    "value_lf": [("X-Name", "value\nX-Split: 1")],
    "value_cr": [("X-Name", "value\rX-Split: 1")],
    "value_nul": [("X-Name", "val\0ue")],
    "value_wide": [("X-Name", "\u20ac")],
    "pair_long": [("X-Name", "value", "more")],
    "pair_none": [None],
    "pair_str": ["ab"],
    "none": None,
    "dict": {"X-Name": "value"},
    "tuple": (("X-Name", "value"),),
    "connection": [("Connection", "close")],
    "keep_alive": [("Keep-Alive", "timeout=5")],
    "transfer_encoding": [("Transfer-Encoding", "chunked")],
    "upgrade": [("Upgrade", "websocket")],
    "te": [("TE", "trailers")],
    "length_text": [("Content-Length", "five")],
    "length_negative": [("Content-Length", "-5")],
    "length_twice": [("Content-Length", "4"), ("Content-Length", "5")],
}


@fixture
def bad_headers(environ, start_response):
    """Headers that must not go out."""
    start_response("200 OK", BAD_HEADERS[argument(environ, "what")])
    return [b"never"]


BAD_STATUS = {
    "int": 200,
    "bytes": b"200 OK",
    "none": None,
    "empty": "",
    "text": "abc",
    "large": "1000 X",
    "small": "99",
    "small_reason": "99 Low",
    "newline": "200 OK\r\nX-Split: 1",
    "nul": "200 O\0K",
    "wide": "200 \u20ac",
}


@fixture
def bad_status(environ, start_response):
    """A status that must not go out."""
    start_response(BAD_STATUS[argument(environ, "what")], TEXT)
    return [b"never"]


@fixture
def never(environ, start_response):
    """start_response is not called at all."""
    return Closing(environ, [b"never"] if not argument(environ, "empty") else [])


@fixture
def twice_unseen(environ, start_response):
    """A second call without exc_info, and nobody catches the error."""
    start_response("200 OK", TEXT)
    start_response("201 Again", TEXT)
    return [b"never"]


@fixture
def no_arguments(environ, start_response):
    """start_response without what it needs."""
    start_response("200 OK")
    return [b"never"]


@fixture
def leaks(environ, start_response):
    """An exception whose text and frames hold a secret."""
    password = "secret-" + argument(environ, "mark")
    raise ValueError(password)


# wsgiref.validate


@fixture
def validated(environ, start_response):
    """The fixture that the next segment names, inside of the validator of the standard library."""
    from wsgiref.validate import validator

    first, name = environ["PATH_INFO"].split("/")[1:3]
    environ["SCRIPT_NAME"] = "/" + first
    environ["PATH_INFO"] = "/" + name
    return validator(APPS[name])(environ, start_response)


@fixture
def sized(environ, start_response):
    """The body read with sizes, for the validator wants one in each read()."""
    data = environ["wsgi.input"]
    body = data.readline() + data.read(3) + b"".join(data)
    environ["wsgi.errors"].write("validated\n")
    start_response("200 OK", [*TEXT, ("Content-Length", str(len(body)))])
    return [body]
