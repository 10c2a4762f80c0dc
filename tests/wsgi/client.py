"""A raw-socket HTTP/1.1 client that shows a response as it was framed."""

import socket
from dataclasses import dataclass, field

TIMEOUT = 10


class Closed(Exception):
    """The connection ended where a response had to begin."""


@dataclass
class Response:
    """One response. `headers` are pairs in the order they came in."""

    status_line: str
    headers: list
    body: bytes = b""
    # The chunks as they were framed, or None if the body was not chunked.
    chunks: list | None = None
    trailers: list = field(default_factory=list)
    # By what the body ended: "none", "length", "chunked" or "close".
    framing: str = "none"

    @property
    def version(self):
        return self.status_line.split(" ", 1)[0]

    @property
    def status(self):
        return int(self.status_line.split(" ", 2)[1])

    @property
    def reason(self):
        return (self.status_line.split(" ", 2) + [""])[2]

    @property
    def text(self):
        return self.body.decode()

    def all(self, name):
        """Every value of a header, in order."""
        return [v for n, v in self.headers if n.lower() == name.lower()]

    def header(self, name, default=None):
        """The value of a header that may be there at most once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else default


class Connection:
    """One connection, for as many requests as the server keeps it."""

    def __init__(self, host, port, timeout=TIMEOUT):
        self.socket = socket.create_connection((host, port), timeout)
        # Parts that a test sends one by one should arrive so.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def half_close(self):
        """Says that no more is sent, and goes on to read."""
        self.socket.shutdown(socket.SHUT_WR)

    def _more(self):
        data = self.socket.recv(65536)
        self.buffer += data
        return data

    def read_line(self):
        """One line without its end, which has to be CR LF."""
        while b"\n" not in self.buffer:
            if not self._more():
                raise Closed(f"ended within a line: {self.buffer!r}")
        line, self.buffer = self.buffer.split(b"\n", 1)
        assert line.endswith(b"\r"), f"a bare LF ends {line!r}"
        return line[:-1]

    def read_exactly(self, length):
        while len(self.buffer) < length:
            if not self._more():
                raise AssertionError(
                    f"ended after {len(self.buffer)} of {length} bytes"
                )
        data, self.buffer = self.buffer[:length], self.buffer[length:]
        return data

    def read_to_end(self):
        """All that comes until the server closes."""
        while self._more():
            pass
        data, self.buffer = self.buffer, b""
        return data

    def at_end(self):
        """Whether the server closes next, without another byte."""
        if self.buffer:
            return False
        try:
            return not self._more()
        except ConnectionResetError:
            return True

    def read_fields(self):
        """Header or trailer fields, up to the empty line after them."""
        fields = []
        while line := self.read_line():
            name, colon, value = line.decode("latin-1").partition(":")
            assert colon and name == name.strip(), f"not a field: {line!r}"
            fields.append((name, value.strip(" \t")))
        return fields

    def read_head(self):
        """The status line and the fields, and nothing of the body."""
        if not self.buffer and not self._more():
            raise Closed("ended before a response")
        status_line = self.read_line().decode("latin-1")
        return Response(status_line, self.read_fields())

    def read_chunk(self):
        """The data of one chunk; the last one is empty, trailers follow it."""
        size = int(self.read_line().split(b";")[0], 16)
        if size == 0:
            return b""
        data = self.read_exactly(size)
        assert self.read_exactly(2) == b"\r\n", "no CR LF behind a chunk"
        return data

    def read_body(self, response, method="GET"):
        """Reads the body that the head says is there, into `response`."""
        status = response.status
        if method == "HEAD" or status < 200 or status in (204, 304):
            return response
        coding = response.header("Transfer-Encoding")
        length = response.header("Content-Length")
        if coding is not None:
            assert coding.lower() == "chunked", coding
            assert length is None, "both a coding and a length"
            response.framing = "chunked"
            response.chunks = []
            while chunk := self.read_chunk():
                response.chunks.append(chunk)
            response.trailers = self.read_fields()
            response.body = b"".join(response.chunks)
        elif length is not None:
            response.framing = "length"
            response.body = self.read_exactly(int(length))
        else:
            response.framing = "close"
            response.body = self.read_to_end()
        return response

    def read(self, method="GET"):
        """One response, interim ones included, with all of its body."""
        return self.read_body(self.read_head(), method)

    def read_final(self, method="GET"):
        """The final response, behind any interim ones."""
        while (response := self.read(method)).status < 200:
            pass
        return response

    def request(self, method, target, headers=(), body=b""):
        """Sends one whole request and reads its final response.

        Host is added unless `headers` has it, and Content-Length for a body.
        """
        self.send(encode(method, target, headers, body, self._host()))
        return self.read_final(method)

    def _host(self):
        host, port = self.socket.getpeername()[:2]
        return f"{host}:{port}"


def encode(method, target, headers=(), body=b"", host="127.0.0.1"):
    """The bytes of one request."""
    pairs = list(headers.items() if isinstance(headers, dict) else headers)
    names = {name.lower() for name, _ in pairs}
    if "host" not in names:
        pairs.insert(0, ("Host", host))
    if "content-length" not in names and "transfer-encoding" not in names:
        # These methods are said to have a body, so an empty one is told too.
        if body or method in ("POST", "PUT", "PATCH"):
            pairs.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in pairs]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def once(server, method, target, headers=(), body=b""):
    """One request on a connection of its own."""
    with Connection(server.host, server.port) as connection:
        return connection.request(method, target, headers, body)


def once_raw(server, data, method="GET"):
    """Sends these bytes on a connection of their own, reads the response."""
    with Connection(server.host, server.port) as connection:
        connection.send(data)
        return connection.read_final(method)
