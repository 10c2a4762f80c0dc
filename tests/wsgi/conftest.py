"""Options and guards that all of these tests share."""

import ipaddress
import os
import socket
import sys
from pathlib import Path

import pytest

# The modules beside the tests are imported by name, from wherever pytest runs.
sys.path.insert(0, str(Path(__file__).parent))

import servers  # noqa: E402


def pytest_addoption(parser):
    parser.addoption(
        "--server",
        choices=servers.KINDS,
        default="ringway",
        help="the server under test; gunicorn is the control",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "ours(reason): what is tested is this server's own, so there is no control")
    servers.kind = config.getoption("--server")
    if servers.kind == "ringway" and "RINGWAY_BIN" not in os.environ:
        raise pytest.UsageError("RINGWAY_BIN has to name the ringway binary")


@pytest.fixture(autouse=True)
def ours(request):
    """Skips what the control has nothing to say about."""
    marker = request.node.get_closest_marker("ours")
    if marker and servers.kind == "gunicorn":
        pytest.skip(marker.args[0])


@pytest.fixture(scope="session")
def server_kind():
    """Which kind of server is under test."""
    return servers.kind


@pytest.fixture(autouse=True, scope="session")
def only_loopback():
    """Refuses a connection of these tests to anywhere but this machine."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6):
            if not ipaddress.ip_address(address[0]).is_loopback:
                raise AssertionError(f"connection to {address} refused")
        return connect(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded)
        yield
