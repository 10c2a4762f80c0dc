"""The end of a server whose application does not end by itself, and of responses whose client has gone."""

import signal
import socket
import struct
import time
from pathlib import Path

import pytest

import client
import servers

HERE = Path(__file__).parent
pytestmark = pytest.mark.ours("it is this server's end that is tested")
THREADS = pytest.mark.parametrize("threads", (None, 2), ids=lambda threads: f"threads-{threads or 0}")


def start(threads=None, *flags):
    return servers.start("end_app:app", cwd=HERE, threads=threads, flags=flags)


def get(server, path):
    connection = client.Connection(server.host, server.port)
    try:
        return connection.request("GET", path).body
    finally:
        connection.close()


@THREADS
def test_a_call_that_does_not_return(threads):
    """The graceful timeout holds for it too, and the end says so."""
    with start(threads, "--graceful-timeout", "1s") as server:
        connection = client.Connection(server.host, server.port)
        connection.send(client.encode("GET", "/stuck"))
        server.wait_for("^stuck$")
        assert server.stop(10) == 1
        assert "goes on past the graceful timeout of 1 s" in server.stderr_text()
        connection.close()


@pytest.mark.parametrize("flags, code", (((), 1), (("--no-supervisor",), -signal.SIGTERM)), ids=("supervised", "alone"))
def test_a_thread_that_the_interpreter_awaits(flags, code):
    """Python awaits it at its end; whoever does not want to ends the process by another signal."""
    with start(None, *flags) as server:
        assert get(server, "/pooled") == b"pooled"
        server.process.terminate()
        until = time.monotonic() + 10
        while server.process.poll() is None:
            assert time.monotonic() < until, server.stderr_text()
            server.process.terminate()
            time.sleep(0.01)
        assert server.wait() == code


def test_a_daemon_inside_of_the_servers_functions():
    """It is left where it is; what atexit knows is run."""
    with start() as server:
        for _ in range(4):
            assert get(server, "/daemon") == b"daemon"
        assert server.stop(10) == 0
        assert "atexit was here" in server.stderr_text()


def test_threads_that_are_imported_late():
    """The thread of a worker is not taken for the main one, whose end is awaited."""
    with servers.start("lazy_app:app", cwd=HERE) as server:
        assert get(server, "/") == b"False"
        assert server.stop(10) == 0
        assert "Traceback" not in server.stderr_text(), server.stderr_text()


def test_a_file_that_knows_its_wrapper():
    """The collector finds the cycle."""
    with start() as server:
        assert get(server, "/cycles") == b"0"


@THREADS
def test_blocks_of_nothing_for_ever(threads):
    """Other requests are answered beside them, and a client that has gone ends them."""
    with start(threads) as server:
        connection = client.Connection(server.host, server.port)
        connection.send(client.encode("GET", "/empties"))
        assert connection.read_head().status == 200
        assert get(server, "/fast") == b"fast"
        assert get(server, "/closed") == b"False"
        # A close in order could be that of a client that still reads.
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        until = time.monotonic() + 10
        while get(server, "/closed") != b"True":
            assert time.monotonic() < until, "close() was not called"
