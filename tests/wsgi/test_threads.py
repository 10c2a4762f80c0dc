"""`--threads N`: calls that block, beside others that do not; and the same for an application in Rust."""

import http.client
import threading
import time
from pathlib import Path

import pytest

import servers

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def server():
    if servers.kind == "gunicorn":
        pytest.skip("it is this server's flag that is tested")
    with servers.start("threads_app:app", cwd=HERE, threads=4) as started:
        yield started


def get(server, path):
    """The body of an answer on a connection of its own."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=20)
    connection.request("GET", path)
    body = connection.getresponse().read().decode()
    connection.close()
    return body


def test_four_slow_calls_at_a_time(server):
    """Four calls of a second take about a second."""
    began = time.monotonic()
    threads = [threading.Thread(target=get, args=(server, "/slow")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # One after the other would be four; a busy machine may take its time.
    assert 1 <= time.monotonic() - began < 3


def test_a_fast_call_beside_three_slow_ones(server):
    """Three threads are held until the fast call has been answered."""
    threads = [threading.Thread(target=get, args=(server, "/held")) for _ in range(3)]
    for thread in threads:
        thread.start()
    while get(server, "/count") != "3":
        pass
    assert get(server, "/fast") == "fast"
    assert get(server, "/release") == "released"
    for thread in threads:
        thread.join()


def test_multithread_is_told(server):
    """`wsgi.multithread` is true here."""
    assert get(server, "/multithread") == "True"


def test_a_rust_application_in_threads():
    """The flag is the server's own: an application in Rust is called in threads as well."""
    if servers.kind == "gunicorn":
        pytest.skip("it has none")
    with servers.start("hello:app", cwd=HERE, flags=("--interface", "linked"), threads=2) as started:
        assert get(started, "/") == "Hello, World!"
