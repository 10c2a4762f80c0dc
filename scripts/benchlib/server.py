"""A running server: started on a free loopback port and its core, verified, ended with all that it started."""

import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from benchlib import accounting

ROOT = Path(__file__).resolve().parents[2]
# Applications for the Python servers, and where these are installed.
WSGI = ROOT / "benches" / "wsgi"
BODY = b"Hello, World!"

SERVER_CORE = 0
START_SECONDS_MAX = 5.0
STOP_SECONDS_MAX = 3.0
ANSWER_SECONDS_MAX = 5.0
# What a server says that has no such resource, takes no such method or no body of such a size.
UNABLE = (404, 405, 413, 501)

NGINX_CONF = """\
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
{user}
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    keepalive_timeout 65;
    sendfile on;
    tcp_nopush on;
    open_file_cache max=16;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "Hello, World!"; }}
        location = /static {{ root {home}; }}
    }}
}}
"""


class Refused(Exception):
    """A server that did not start or did not answer as it must; the text says what happened."""


class Unable(Refused):
    """A server that has not what the scenario asks for, and says so; it is left out, which is no failure."""


class Server:
    """A running peer, pinned to the server's core; a context manager that ends it."""

    def __init__(self, peer, service="hello", body_size=0):
        self.peer = peer
        self.port = free_port()
        self.home = tempfile.mkdtemp(prefix="ringway-bench-")
        if peer.name == "nginx":
            self.configure_nginx(body_size)
        self.log = open(Path(self.home, "stderr"), "w+b")
        self.process = subprocess.Popen(
            peer.command(self.port, self.home, service, body_size),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env={**clean_environment(), **peer.environment},
            cwd=WSGI if peer.name.startswith("wsgi-") else None,
            preexec_fn=accounting.pin_to(SERVER_CORE),
        )

    def configure_nginx(self, body_size):
        user = "user root;" if os.geteuid() == 0 else ""
        text = NGINX_CONF.format(home=self.home, port=self.port, user=user)
        Path(self.home, "nginx.conf").write_text(text, encoding="ascii")
        Path(self.home, "static").write_bytes(b"x" * body_size)

    def __enter__(self):
        try:
            self.wait_until_listening()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def pid(self):
        return self.process.pid

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/"

    def wait_until_listening(self):
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            self.must_live("")
            try:
                self.connect().close()
                return
            except OSError:
                time.sleep(0.01)
        raise Refused(f"did not listen within {START_SECONDS_MAX:.0f} s: {self.last_words()}")

    def must_live(self, when):
        if self.process.poll() is not None:
            raise Refused(f"exited with {self.process.returncode}{when}: {self.last_words()}")

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), timeout=ANSWER_SECONDS_MAX)

    def last_words(self):
        self.log.seek(0)
        lines = self.log.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def stop(self):
        """Ends the process that was started, and what it started, by number."""
        below = accounting.tree(self.pid)[1:]
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                for pid in [self.pid, *below]:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                self.process.wait()
        self.log.close()
        shutil.rmtree(self.home, ignore_errors=True)

    def verify(self, request_head="GET / HTTP/1.1\r\nHost: bench\r\n"):
        """Two pipelined requests, the second of which asks to close: two right answers, then the end."""
        count = 2 if self.peer.pipelines else 1
        text = (f"{request_head}\r\n" * (count - 1) + f"{request_head}Connection: close\r\n\r\n").encode()
        received = b""
        try:
            with self.connect() as connection:
                connection.sendall(text)
                while part := connection.recv(65536):
                    received += part
        except OSError as error:
            raise Refused(f"verification: {error} after {received[:200]!r}") from error
        rest = received
        for number in range(1, count + 1):
            rest = self.verified_answer(number, rest)
        if rest:
            raise Refused(f"verification: {rest[:200]!r} after the last answer")

    def verified_answer(self, number, received):
        """What follows one right answer."""
        head, found, rest = received.partition(b"\r\n\r\n")
        status, *lines = head.split(b"\r\n")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        right = (
            found
            and status.startswith(b"HTTP/1.1 200 ")
            and fields.get(b"content-length") == b"%d" % len(BODY)
            and fields.get(b"content-type", b"").startswith(b"text/plain")
            # Some Python servers have no Date.
            and (b"date" in fields or self.peer.name.startswith("wsgi-"))
            and rest.startswith(BODY)
        )
        if not right:
            raise Refused(f"verification: answer {number} is wrong: {received[:300]!r}")
        return rest[len(BODY) :]

    def verify_body(self, request, expected):
        """Two requests on one connection, each of which must bring the body, to the byte."""
        try:
            with self.connect() as connection:
                for number in (1, 2):
                    status, received = exchange(connection, request)
                    if status in UNABLE:
                        raise Unable(f"it answers with status {status}")
                    if status != 200 or received != expected:
                        found = f"status {status} and {len(received):,} bytes"
                        raise Refused(f"verification: answer {number} has {found}, not the {len(expected):,} expected")
        except (OSError, http.client.HTTPException) as error:
            raise Refused(f"verification: {error!r}") from error


def exchange(connection, request):
    """One request's status and body. A thread sends, for a server may answer before it has read everything."""
    sender = threading.Thread(target=send_all, args=(connection, request), daemon=True)
    sender.start()
    response = http.client.HTTPResponse(connection)
    response.begin()
    body = response.read()
    sender.join()
    return response.status, body


def send_all(connection, request):
    try:
        connection.sendall(request)
    except OSError:
        # A refusal may cut the request short; what was answered says so.
        pass


def clean_environment():
    """The environment without what would reconfigure a server behind the printed command's back."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("RINGWAY_") and key not in ("PORT", "WEB_CONCURRENCY")
    }


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
