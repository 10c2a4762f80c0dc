"""The servers that can be measured: how each is found, started, verified and ended."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from benchlib import accounting

ROOT = Path(__file__).resolve().parents[2]
BODY = b"Hello, World!"

SERVER_CORE = 0
START_SECONDS_MAX = 5.0
# Applications for the Python servers, and where these are installed.
WSGI = ROOT / "benches" / "wsgi"
STOP_SECONDS_MAX = 3.0

NGINX_CONF = """\
worker_processes 1;
daemon off;
pid {home}/nginx.pid;
error_log {home}/error.log;
{user}
events {{ worker_connections 4096; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_requests 1000000;
    keepalive_timeout 65;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ return 200 "Hello, World!"; }}
    }}
}}
"""


class Refused(Exception):
    """A server that did not start or did not answer as it must; the text says what happened."""


class Peer:
    """A server by name: a binary, its arguments, and how to build it if it is not there."""

    def __init__(self, name, binary, arguments, remedy, environment=None, pipelines=True):
        self.environment = environment or {}
        self.pipelines = pipelines
        self.name = name
        self.binary = binary
        self.arguments = arguments
        self.remedy = remedy

    def missing(self):
        """Why the peer can't be measured, or None."""
        if self.binary and os.access(self.binary, os.X_OK):
            return None
        return f"not installed: {self.remedy}"

    def version(self):
        """What the binary calls itself, with its digest, since one version has many builds."""
        digest = hashlib.sha256(Path(self.binary).read_bytes()).hexdigest()[:12]
        flag = "-v" if self.name == "nginx" else "--version"
        if self.name.startswith("wsgi-") and not self.name.startswith("wsgi-ringway"):
            return self.package()
        # The floors take a port and nothing else; they are known by their digest.
        named = "" if self.name.endswith("-floor") else first_line([self.binary, flag])
        return f"{named} (sha256 {digest})".strip()

    def package(self):
        """A Python server by its package."""
        name = self.name.split("-")[1]
        return first_line([self.binary, "-c", f"from importlib.metadata import version; print('{name}', version('{name}'))"])

    def command(self, port="PORT", home="HOME"):
        words = [part.format(port=port, home=home) for part in self.arguments]
        return [str(self.binary), *words]

    def start(self):
        return Server(self)


class Server:
    """A running peer on a free loopback port, pinned to the server's core; a context manager that ends it."""

    def __init__(self, peer):
        self.peer = peer
        self.port = free_port()
        self.home = tempfile.mkdtemp(prefix="ringway-bench-")
        if peer.name == "nginx":
            user = "user root;" if os.geteuid() == 0 else ""
            text = NGINX_CONF.format(home=self.home, port=self.port, user=user)
            Path(self.home, "nginx.conf").write_text(text, encoding="ascii")
        self.log = open(Path(self.home, "stderr"), "w+b")
        self.process = subprocess.Popen(
            peer.command(self.port, self.home),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log,
            env={**clean_environment(), **peer.environment},
            cwd=WSGI if peer.name.startswith("wsgi-") else None,
            preexec_fn=accounting.pin_to(SERVER_CORE),
        )

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
            if self.process.poll() is not None:
                raise Refused(f"exited with {self.process.returncode}: {self.last_words()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                time.sleep(0.01)
        raise Refused(f"did not listen within {START_SECONDS_MAX:.0f} s: {self.last_words()}")

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
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
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
        return rest[len(BODY):]


def catalogue(ringway=None, before=None):
    """Every peer by name, in the order of the table; an earlier build of ringway only where one is given."""
    ringway = Path(ringway) if ringway else built(ROOT)
    floors = built(ROOT / "benches" / "peers").parent
    build = "cargo build --release"
    build_floors = f"{build} --manifest-path benches/peers/Cargo.toml"
    serve = ["hello:app", "--bind", "127.0.0.1:{port}", "--workers", "1", "--pin", "off", "--io"]
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    nginx_arguments = ["-p", "{home}", "-e", "{home}/error.log", "-c", "{home}/nginx.conf"]
    peers = [
        Peer("ring-floor", floors / "ring-floor", ["{port}"], build_floors),
        Peer("epoll-floor", floors / "epoll-floor", ["{port}"], build_floors),
        Peer("ringway", ringway, [*serve, "uring"], build),
        Peer("ringway-epoll", ringway, [*serve, "epoll"], build),
        Peer("ringway-admin", ringway, [*serve, "uring", "--admin", "127.0.0.1:0"], build),
        Peer("nginx", nginx, nginx_arguments, "apt-get install nginx-light"),
    ]
    if before:
        peers.append(Peer("before", Path(before), [*serve, "uring"], build))
        peers.append(Peer("before-epoll", Path(before), [*serve, "epoll"], build))
    return {peer.name: peer for peer in peers}


def wsgi_catalogue(python, ringway=None, before=None):
    """The Python servers, with an application that does nothing and with one of Flask, in the environment of `python`;
    an earlier build of ringway only where one is given.
    """
    ringway = Path(ringway) if ringway else built(ROOT)
    # Absolute, but not resolved: the path of the interpreter is how it knows its environment.
    python = Path(python).absolute()
    remedy = f"python3 -m venv ENVIRONMENT; ENVIRONMENT/bin/pip install -r {WSGI.relative_to(ROOT)}/requirements.txt"
    # One seed for the hashes of all: another one for each start is a tenth of Flask's time up or down.
    surroundings = {"VIRTUAL_ENV": str(python.parent.parent), "PYTHONHASHSEED": "0"}
    peers = []
    for suffix, module in (("", "trivial"), ("-flask", "flask_hello")):
        bind = ["--bind", "127.0.0.1:{port}"]
        serve = [f"{module}:app", *bind, "--workers", "1", "--pin", "off"]
        granian = ["-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"]
        gunicorn = ["-m", "gunicorn", *bind, "-k", "gthread", "--threads", "4", "--keep-alive", "60", f"{module}:app"]
        build = "cargo build --release --features wsgi"
        peers += [
            Peer(f"wsgi-ringway{suffix}", ringway, serve, build, surroundings),
            Peer(f"wsgi-bjoern{suffix}", python, ["serve.py", "bjoern", module, "{port}"], remedy, surroundings, pipelines=False),
            Peer(f"wsgi-fastpysgi{suffix}", python, ["serve.py", "fastpysgi", module, "{port}"], remedy, surroundings, pipelines=False),
            Peer(f"wsgi-granian{suffix}", python, [*granian, f"{module}:app"], remedy, surroundings, pipelines=False),
            Peer(f"wsgi-gunicorn{suffix}", python, gunicorn, remedy, surroundings, pipelines=False),
        ]
        if before:
            peers.append(Peer(f"wsgi-ringway-before{suffix}", Path(before), serve, build, surroundings))
    return {peer.name: peer for peer in peers}


def built(package):
    """The path of a package's release binary; only the directory is of interest for one that has several."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or package / "target")
    return target / "release" / "ringway"


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


def first_line(command):
    """The first line a command says on either stream, for versions."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown version ({error})"
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else "unknown version"
