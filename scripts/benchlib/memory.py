"""Resident memory: what an idle connection takes, and whether a server grows under load."""

import socket
import struct
import time

from benchlib import accounting, load, server

SETTLE_SECONDS = 0.3
IDLE_ROUNDS = 3


def idle_once(scenario, peer):
    """Resident bytes for each of many connections that are idle, each after one answer.

    The reading before them is taken after the verification, so what a server sets aside at its start and at its first
    request is not in the figure; nor is the kernel's memory for the sockets.
    """
    with peer.start() as running:
        scenario.verify(running)
        before = accounting.resident_kib(running.pid)
        connections = []
        try:
            for _ in range(scenario.connections):
                connections.append(connected(running))
            time.sleep(SETTLE_SECONDS)
            after = accounting.resident_kib(running.pid)
            running.must_live(" with idle connections")
            if closed := sum(is_closed(connection) for connection in connections):
                raise server.Refused(f"{closed:,} of {scenario.connections:,} idle connections were closed")
        finally:
            for connection in connections:
                connection.close()
    return (after - before) * 1024 / scenario.connections


def connected(running):
    """A connection that has had one right answer. It ends by a reset, so that no port stays taken."""
    connection = running.connect()
    try:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n")
        received = b""
        while not received.endswith(server.BODY):
            part = connection.recv(4096)
            if not part:
                raise server.Refused(f"a connection was closed after {received[:200]!r}")
            received += part
        connection.setblocking(False)
    except OSError as error:
        connection.close()
        raise server.Refused(f"a connection that was to be idle: {error!r}") from error
    except BaseException:
        connection.close()
        raise
    return connection


def is_closed(connection):
    try:
        return connection.recv(1, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def idle_impossible(scenario):
    """Why so many connections can't be, or None."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = scenario.connections + 200
    return None if soft >= needed else f"{needed:,} open files are needed, and the limit is {soft:,} (ulimit -Hn)"


def growth_plans():
    """256 connections, plain and pipelined."""
    pipelined = load.scenarios(["pipelined"], [])[0]
    return [
        load.Scenario("plain", 256),
        load.Scenario("pipelined-16", 256, pipelined.options, pipelined.script_arguments),
    ]


def growth_once(scenario, peer):
    """Resident memory at the fifth and the tenth second under load."""
    with peer.start() as running:
        scenario.verify(running)
        started = time.monotonic()
        generator = load.start(scenario.command(running.url, 10))
        sizes = []
        try:
            # The second reading is just before the end, while every connection is still open.
            for moment in (5.0, 9.8):
                time.sleep(max(0.0, started + moment - time.monotonic()))
                sizes.append(accounting.resident_kib(running.pid))
        except BaseException:
            load.kill(generator)
            raise
        outcome = load.finish(generator)
    return {
        "kib_at_5s": sizes[0],
        "kib_at_10s": sizes[1],
        "growth_kib": sizes[1] - sizes[0],
        "requests": outcome.requests,
        "socket_errors": outcome.socket_errors,
        "refused": outcome.refused,
    }
