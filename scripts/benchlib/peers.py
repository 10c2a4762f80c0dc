"""The servers that can be measured: how each is found, built, named and started."""

import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchlib.server import ROOT, WSGI, Server

FIELD = ROOT / "benches" / "peers"
BUILD = "cargo build --release"
BUILD_EXAMPLE = f"{BUILD} --example static_body"
BUILD_FLOORS = f"{BUILD} --manifest-path benches/peers/Cargo.toml"
BUILD_FIELD = f"{BUILD_FLOORS} --features field"
# The Rust peers, each with the package whose version is its own.
RUST_PEERS = {
    "hyper": "hyper",
    "axum": "axum",
    "ringway-axum": "axum",
    "actix-web": "actix-web",
    "may_minihttp": "may_minihttp",
    "xitca-web": "xitca-web",
    "ntex": "ntex",
    "tokio-uring-streams": "tokio-uring",
}
# Measured only when named: their question is what numbers cost, or a runtime that nobody needs, and not how they stand
# in the field.
BY_NAME_ONLY = ("ringway-admin", "ringway-hosted")


@dataclass(frozen=True)
class Launch:
    """How a peer is started for one service, where that is another command than for hello."""

    arguments: list
    binary: Path | None = None
    remedy: str | None = None


class Peer:
    """A server by name: a binary, its arguments, and how to build it if it is not there.

    `arguments` are those of the service `hello`. `others` has the services that need another command, and a reason
    in words for one that this peer does not have.
    """

    def __init__(self, name, binary, arguments, remedy, environment=None, pipelines=True, others=None):
        self.environment = environment or {}
        self.pipelines = pipelines
        self.name = name
        self.binary = binary
        self.arguments = arguments
        self.remedy = remedy
        self.others = others or {}

    def missing(self):
        """Why the peer can't be measured, or None."""
        if self.binary and os.access(self.binary, os.X_OK):
            return None
        return f"not installed: {self.remedy}"

    def lacks(self, service):
        """Why the peer can't be measured in scenarios of a service, or None."""
        launch = self.others.get(service, Launch(self.arguments))
        if isinstance(launch, str):
            return f"n/a: {launch}"
        if launch.binary and not os.access(launch.binary, os.X_OK):
            return f"not built: {launch.remedy}"
        return None

    def version(self):
        """What the binary calls itself, with its digest, since one version has many builds."""
        digest = hashlib.sha256(Path(self.binary).read_bytes()).hexdigest()[:12]
        flag = "-v" if self.name == "nginx" else "--version"
        if self.name.startswith("wsgi-") and not self.name.startswith("wsgi-ringway"):
            return self.package()
        if self.name in RUST_PEERS:
            named = locked_version(RUST_PEERS[self.name])
        else:
            # These take a port and nothing else; they are known by their digest.
            named = "" if self.name.endswith(("-floor", "-hosted")) else first_line([self.binary, flag])
        return f"{named} (sha256 {digest})".strip()

    def package(self):
        """A Python server by its package."""
        name = self.name.split("-")[1]
        return first_line(
            [self.binary, "-c", f"from importlib.metadata import version; print('{name}', version('{name}'))"]
        )

    def command(self, port="PORT", home="HOME", service="hello", body_size=0):
        launch = self.others.get(service, Launch(self.arguments))
        words = [part.format(port=port, home=home, size=body_size) for part in launch.arguments]
        return [str(launch.binary or self.binary), *words]

    @property
    def closes(self):
        """Whether a connection ends where the request asks for it."""
        return not isinstance(self.others.get("connect"), str)

    def shown(self, service="hello"):
        """The command for people: the binary by its name, and the parts that change in capitals."""
        binary, *arguments = self.command(service=service, body_size="SIZE")
        return " ".join([Path(binary).name, *arguments])

    def start(self, service="hello", body_size=0):
        return Server(self, service, body_size)


def catalogue(ringway=None, before=None):
    """Every peer by name, in the order of the table; an earlier build of ringway only where one is given."""
    floors = built(FIELD).parent
    nginx = shutil.which("nginx", path=os.environ.get("PATH", "") + ":/usr/sbin")
    no_echo = {"echo": "it returns no body by itself"}
    nginx_arguments = ["-p", "{home}", "-e", "{home}/error.log", "-c", "{home}/nginx.conf"]
    own = Path(ringway) if ringway else built(ROOT)
    peers = [
        floor("ring-floor", floors),
        floor("epoll-floor", floors),
        linked("ringway", own, "uring"),
        linked("ringway-epoll", own, "epoll"),
        linked("ringway-admin", own, "uring", "--admin", "127.0.0.1:0"),
        Peer("nginx", nginx, nginx_arguments, "apt-get install nginx-light", others=no_echo),
    ]
    for name in RUST_PEERS:
        others = {"connect": "it ends no connection that asks to be ended"} if name == "may_minihttp" else {}
        peers.append(Peer(name, floors / name, ["{port}"], BUILD_FIELD, others=others))
    others = dict.fromkeys(("echo", "static"), "its application says hello only")
    peers.append(Peer("ringway-hosted", floors / "ringway-hosted", ["{port}"], BUILD_FIELD, others=others))
    if before:
        peers += [linked("before", Path(before), "uring"), linked("before-epoll", Path(before), "epoll")]
    return {peer.name: peer for peer in peers}


def floor(name, directory):
    others = {"echo": Launch(["{port}", "--echo"]), "static": Launch(["{port}", "--body", "{size}"])}
    return Peer(name, directory / name, ["{port}"], BUILD_FLOORS, others=others)


def linked(name, binary, driver, *more):
    """A build of ringway with the applications it has linked, and beside it the example with the static body."""
    options = ["--bind", "127.0.0.1:{port}", "--workers", "1", "--pin", "off", "--io", driver, *more]
    others = {
        "echo": Launch(["echo:app", *options]),
        "static": Launch(["static:app", *options], binary.parent / "examples" / "static_body", BUILD_EXAMPLE),
    }
    return Peer(name, binary, ["hello:app", *options], BUILD, others=others)


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
    hello_only = dict.fromkeys(("echo", "static"), "its application says hello only")
    peers = []
    for suffix, module in (("", "trivial"), ("-flask", "flask_hello")):
        bind = ["--bind", "127.0.0.1:{port}"]
        serve = [f"{module}:app", *bind, "--workers", "1", "--pin", "off"]
        granian = ["-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", "{port}", "--workers", "1"]
        gunicorn = ["-m", "gunicorn", *bind, "-k", "gthread", "--threads", "4", "--keep-alive", "60", f"{module}:app"]
        build = f"{BUILD} --features wsgi"
        commands = {
            "bjoern": ["serve.py", "bjoern", module, "{port}"],
            "fastpysgi": ["serve.py", "fastpysgi", module, "{port}"],
            "granian": [*granian, f"{module}:app"],
            "gunicorn": gunicorn,
        }
        peers.append(Peer(f"wsgi-ringway{suffix}", ringway, serve, build, surroundings, others=hello_only))
        for name, arguments in commands.items():
            one_by_one = {"pipelines": False, "others": hello_only}
            peers.append(Peer(f"wsgi-{name}{suffix}", python, arguments, remedy, surroundings, **one_by_one))
        if before:
            name = f"wsgi-ringway-before{suffix}"
            peers.append(Peer(name, Path(before), serve, build, surroundings, others=hello_only))
    return {peer.name: peer for peer in peers}


def built(package):
    """The path of a package's release binary; only the directory is of interest for one that has several."""
    target = Path(os.environ.get("CARGO_TARGET_DIR") or package / "target")
    return target / "release" / "ringway"


def locked_version(package):
    """A package's version by the lock file of the peers, with the commit where it comes from a repository."""
    text = (FIELD / "Cargo.lock").read_text(encoding="utf-8")
    versions = []
    for entry in text.split("[[package]]")[1:]:
        fields = dict(re.findall(r'^(name|version|source) = "(.*)"$', entry, re.MULTILINE))
        if fields.get("name") == package:
            commit = re.search(r"^git\+.*#([0-9a-f]{7})", fields.get("source", ""))
            versions.append(fields["version"] + (f" at {commit[1]}" if commit else ""))
    return f"{package} {' and '.join(versions) or 'of unknown version'}"


def first_line(command):
    """The first line a command says on either stream, for versions."""
    try:
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"unknown version ({error})"
    lines = done.stdout.strip().splitlines()
    return lines[0] if lines else "unknown version"
