"""What is said on stderr about Python applications, and the ids of their requests."""

import json
import re
from pathlib import Path

import pytest

import client
import servers

HERE = Path(__file__).parent
pytestmark = pytest.mark.ours("these are this server's own logs")
THREADS = pytest.mark.parametrize("threads", (None, 2), ids=lambda threads: f"threads-{threads or 0}")


def start(threads, *flags):
    return servers.start("logs_app:app", cwd=HERE, threads=threads, flags=flags)


def get(server, path, headers=()):
    connection = client.Connection(server.host, server.port)
    try:
        return connection.request("GET", path, headers=headers)
    finally:
        connection.close()


@THREADS
def test_a_traceback_is_one_object(threads):
    """Each line of the server's own is an object; what the application writes passes as it is."""
    with start(threads, "--log-format", "json") as server:
        assert get(server, "/raises").status == 500
        server.wait_for("logs_app:app: failed")
        lines = server.stderr_text().splitlines()
        assert "own line for /raises" in lines
        objects = [json.loads(line) for line in lines if line.startswith("{")]
        assert len(objects) == len(lines) - 1
        raised = [one for one in objects if "traceback" in one]
        assert [(one["level"], one["message"]) for one in raised] == [("error", "out")]
        assert raised[0]["traceback"].startswith("Traceback") and 'no "way"\nout' in raised[0]["traceback"]


def test_faults_beyond_the_limit_are_counted():
    """Of many faults in a second, so many have a line and a traceback; a line counts the others."""
    with start(None, "--log-faults", "3") as server:
        for _ in range(50):
            assert get(server, "/raises").status == 500
        server.wait_for(r"^ringway: \d+ more faults? of applications in that second$")
        assert server.stderr_text().count("own line for /raises") == 50
        assert server.stderr_text().count("Traceback") < 50


@THREADS
def test_ids(threads):
    """The application sees the id that the response carries."""
    with start(threads, "--request-id") as server:
        made = get(server, "/")
        assert re.fullmatch("[0-9a-f]{32}", made.body.decode()), made.body
        assert made.all("X-Request-Id") == [made.body.decode()]
        taken = get(server, "/", [("X-Request-Id", "mine")])
        assert (taken.all("X-Request-Id"), taken.body) == (["mine"], b"mine")
    with start(threads) as server:
        assert get(server, "/").body == b"none"
