"""`write()` to clients that are slow, or read nothing: nothing is lost, and the worker goes on."""

import socket
import time
from pathlib import Path

import pytest

import client
import servers

SIZE = 8_000_000


@pytest.fixture(scope="module", params=(None, 2), ids=lambda threads: f"threads-{threads or 0}")
def server(request, tmp_path_factory):
    if servers.kind == "gunicorn":
        pytest.skip("the deadline is this server's")
    env = {"CONTRACT_DIR": str(tmp_path_factory.mktemp("write"))}
    flags = ("--write-idle", "1s")
    with servers.start("contract_apps:app", cwd=Path(__file__).parent, flags=flags, env=env, threads=request.param) as one:
        yield one


def ask(server, size):
    """A connection with little room to receive, on which so many bytes are asked for, twice."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(20)
    connection.connect((server.host, server.port))
    connection.sendall(client.encode("GET", f"/written?size={size}&mixed="))
    return connection


def test_all_of_it_arrives(server):
    """A slow reader gets every byte, in order."""
    with ask(server, SIZE) as connection:
        received = bytearray()
        while not received.endswith(b"\r\n0\r\n\r\n"):
            piece = connection.recv(10_000)
            assert piece, "it was closed in the middle"
            received += piece
    _, _, body = bytes(received).partition(b"\r\n\r\n")
    decoded = bytearray()
    while body:
        size, _, rest = body.partition(b"\r\n")
        decoded += rest[: int(size, 16)]
        body = rest[int(size, 16) + 2 :]
    assert decoded == b"w" * SIZE + b"W" * SIZE


def test_who_reads_nothing_is_let_go(server):
    """The deadline ends the write, and the next request is answered."""
    start = len(server.stderr_text())
    with ask(server, 64_000_000):
        connection = client.Connection(server.host, server.port)
        assert connection.request("GET", "/body?shape=one").body == b"hello"
        connection.close()
        server.wait_for(r"TimeoutError|BrokenPipeError|was dropped|stream failed", 20)
    assert len(server.stderr_text()) > start


def test_who_reads_nothing_stops_no_other_thread(tmp_path):
    """A single large write() waits without the interpreter's lock."""
    if servers.kind == "gunicorn":
        pytest.skip("the flags are this server's")
    env = {"CONTRACT_DIR": str(tmp_path)}
    flags = ("--write-idle", "15s")
    with servers.start("contract_apps:app", cwd=Path(__file__).parent, flags=flags, env=env, threads=2) as server:
        with ask(server, 64_000_000) as slow:
            assert slow.recv(1)
            start = time.monotonic()
            with client.Connection(server.host, server.port) as connection:
                assert connection.request("GET", "/body?shape=one").body == b"hello"
            assert time.monotonic() - start < 5
