"""The scenarios and the closed-loop generator: wrk on a core of its own, and perf around it."""

import math
import os
import re
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchlib import accounting

SCRIPTS = Path(__file__).resolve().parents[1] / "wrk"
GENERATOR_CORE = 1
KIB = 1024
IDLE_COUNT = 10_000

SYSTEM_CALLS = "raw_syscalls:sys_enter"
PUNTS = "io_uring:io_uring_queue_async_work"


@dataclass(frozen=True)
class Scenario:
    """What is asked of a server, and what the generator does.

    `service` is what the server is started with: hello, echo or static. `kind` is how it is measured: by wrk (load),
    by counting memory (idle), or by an open loop (latency). `body_size` is that of the request or of the answer.
    """

    name: str
    connections: int
    options: list = field(default_factory=list)
    script_arguments: list = field(default_factory=list)
    service: str = "hello"
    path: str = "/"
    body_size: int = 0
    kind: str = "load"

    def command(self, url, seconds):
        """wrk with one thread, as it has one core."""
        url = url.rstrip("/") + self.path
        words = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "5s", *self.options, url]
        return words + (["--", *self.script_arguments] if self.script_arguments else [])

    def verify(self, server):
        """Asks the server what the generator will ask it, and looks at every byte of the answer."""
        if self.service == "echo":
            body = os.urandom(self.body_size)
            head = f"POST {self.path} HTTP/1.1\r\nHost: bench\r\nContent-Length: {len(body)}\r\n"
            server.verify_body(f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + body, body)
        elif self.service == "static":
            request = f"GET {self.path} HTTP/1.1\r\nHost: bench\r\n\r\n"
            server.verify_body(request.encode(), b"x" * self.body_size)
        elif self.name == "head":
            server.verify(browser_head())
        else:
            server.verify()


@dataclass
class Outcome:
    """What wrk counted."""

    requests: int
    seconds: float
    socket_errors: int
    refused: int

    @property
    def faults(self):
        return self.socket_errors + self.refused


def catalogue(connections):
    """Every scenario by its kind; `hello` is one for each number of connections."""
    return {
        "hello": [Scenario(f"hello-{count}", count) for count in connections],
        "pipelined": [Scenario("pipelined-16", 64, script("pipeline.lua"), ["16"])],
        "head": [Scenario("head", 64, script("browser.lua"))],
        "connect": [Scenario("connect", 64, ["-H", "Connection: close"])],
        "echo": [echo("echo-1k", 64, KIB), echo("echo-64k", 64, 64 * KIB), echo("echo-1m", 16, KIB * KIB)],
        "static": [Scenario("static-256k", 64, service="static", path="/static", body_size=256 * KIB)],
        "idle": [Scenario("idle-10k", IDLE_COUNT, kind="idle")],
        "latency": [Scenario("latency", 64, kind="latency")],
    }


def script(name):
    return ["-s", str(SCRIPTS / name)]


def echo(name, connections, size):
    return Scenario(name, connections, script("post.lua"), [str(size)], "echo", "/echo", size)


def scenarios(names, connections):
    """The scenarios named, by kind or each by its own name; `hello-N` with any number."""
    kinds = catalogue(connections)
    single = {scenario.name: scenario for kind in kinds.values() for scenario in kind}
    chosen, unknown = [], []
    for name in names:
        counted = re.fullmatch(r"hello-([1-9]\d*)", name)
        if name in kinds and name not in single:
            chosen += kinds[name]
        elif counted:
            chosen.append(Scenario(name, int(counted[1])))
        elif name in single:
            chosen.append(single[name])
        else:
            unknown.append(name)
    if unknown:
        there = ", ".join(dict.fromkeys([*kinds, *single]))
        raise SystemExit(f"bench: no scenario {', '.join(unknown)}; there are {there}")
    return list({scenario.name: scenario for scenario in chosen}.values())


def browser_head():
    """The head that browser.lua sends, read from there, so that what is verified is what is measured."""
    text = (SCRIPTS / "browser.lua").read_text(encoding="ascii")
    target = re.search(r'^ *wrk\.path = "(.+)"$', text, re.MULTILINE)[1]
    fields = re.findall(r'^ *\["(.+?)"\] = "(.*)",$', text, re.MULTILINE)
    # The verification itself decides when the connection ends.
    lines = [f"{name}: {value}" for name, value in fields if name != "Connection"]
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: bench", *lines, ""])


def start(command):
    """Starts a generator on its core; the caller waits for it."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=accounting.pin_to(GENERATOR_CORE),
        process_group=0,
    )


def kill(process):
    """Ends a generator before its time, and with perf the wrk that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def finish(process):
    """Waits for wrk, alone or under perf, and reads its report."""
    try:
        report, complaint = process.communicate()
    except BaseException:
        kill(process)
        raise
    done = re.search(r"(\d+) requests in ([\d.]+)(ms|s|m),", report)
    if not done:
        raise RuntimeError(f"wrk gave no report: {(complaint or report).strip()[-300:]}")
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", report)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", report)
    unit = {"ms": 0.001, "s": 1.0, "m": 60.0}[done[3]]
    return Outcome(
        requests=int(done[1]),
        seconds=float(done[2]) * unit,
        socket_errors=sum(int(count) for count in errors.groups()) if errors else 0,
        refused=int(refused[1]) if refused else 0,
    )


def run(scenario, url, seconds):
    """A measurement by wrk, which counts in whole seconds; for less it is interrupted, and reports as at its end."""
    whole = math.ceil(seconds)
    if whole == seconds:
        return finish(start(scenario.command(url, whole)))
    process = start(scenario.command(url, whole + 1))
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)
    except BaseException:
        kill(process)
        raise
    return finish(process)


def count_events(server, scenario, seconds):
    """System calls and kernel-worker punts a request: `(system_calls, punts)`, or the reason why not, as a string.

    The pass is one of its own, because a tracepoint on every system call costs CPU time that must not be in the
    figure of record. Both are plain software events, so no hardware counter is needed.
    """
    perf = shutil.which("perf")
    if not perf:
        return "perf is not installed"
    with tempfile.NamedTemporaryFile("r", prefix="ringway-perf-") as counts:
        pids = ",".join(str(pid) for pid in accounting.tree(server.pid))
        stat = [perf, "stat", "-x,", "-o", counts.name, "-e", SYSTEM_CALLS, "-e", PUNTS, "-p", pids, "--"]
        try:
            outcome = finish(start(stat + scenario.command(server.url, seconds)))
        except RuntimeError as error:
            return tracing_fault() or str(error)
        counted = {}
        for line in counts.read().splitlines():
            columns = line.split(",")
            if len(columns) > 2 and columns[0].isdigit():
                counted[columns[2]] = int(columns[0])
    if SYSTEM_CALLS not in counted:
        return tracing_fault() or "perf counted nothing"
    return counted[SYSTEM_CALLS] / outcome.requests, counted.get(PUNTS, 0) / outcome.requests


def tracing_fault():
    """Why tracepoints are out of reach, or None."""
    if os.geteuid() != 0:
        return "tracepoints need root"
    if not any(
        Path(base, "events/raw_syscalls").is_dir() for base in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    ):
        return "tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing"
    return None
