"""Bodies that are larger than the memory they may take. RINGWAY_LONG=1 makes them a GiB."""

import hashlib
import http.client
import os
from pathlib import Path

import pytest

import servers

SIZE = (1 << 30) if os.environ.get("RINGWAY_LONG") == "1" else (1 << 26)
PIECE = 1 << 20
# What the server may grow by, whatever the size.
GROWTH_MAX_KIB = 16 * 1024


def resident_kib(pid):
    """Resident memory of a process, without what it shares with its files."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Rss:"))


def pieces():
    """The body, never all of it at once."""
    for number in range(SIZE // PIECE):
        yield number.to_bytes(8, "big") * (PIECE // 8)


def digest_of(blocks):
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


@pytest.fixture(scope="module")
def expected():
    return digest_of(pieces())


@pytest.fixture(scope="module", params=(None, 4), ids=lambda threads: f"threads-{threads or 0}")
def server(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("sizes") / "download"
    with open(path, "wb") as file:
        file.writelines(pieces())
    flags = ("--body-max", "2G", "--spool-dir", str(path.parent))
    env = {"DOWNLOAD": str(path)}
    if servers.kind == "gunicorn" and request.param is None:
        pytest.skip("the control has threads")
    with servers.start("sizes_app:app", cwd=Path(__file__).parent, flags=flags, env=env, threads=request.param) as started:
        # What the first request brings into memory is not growth.
        assert exchange(started, "POST", "/upload", [b"first"]) == hashlib.sha256(b"first").hexdigest()
        yield started


def exchange(server, method, path, body=None):
    """The text of a short answer, or the digest of a long one."""
    connection = http.client.HTTPConnection(server.host, server.port, timeout=60)
    size = SIZE if body is None or len(body) != 1 else len(body[0])
    headers = {"Content-Length": str(size)} if method == "POST" else {}
    connection.request(method, path, body=body if body else (pieces() if method == "POST" else None), headers=headers)
    response = connection.getresponse()
    assert response.status == 200
    answer = response.read().decode() if method == "POST" else digest_of(iter(lambda: response.read(PIECE), b""))
    connection.close()
    return answer


@pytest.mark.parametrize(("method", "path"), [("POST", "/upload"), ("GET", "/download"), ("GET", "/stream")])
def test_a_large_body_takes_little_memory(server, expected, method, path):
    """`Uploads of gigabytes work and memory stays flat`, and so do downloads."""
    before = resident_kib(server.pid)
    assert exchange(server, method, path) == expected
    growth = resident_kib(server.pid) - before
    print(f"{method} {path} of {SIZE >> 20} MiB: {growth} KiB")
    assert growth < GROWTH_MAX_KIB
