"""The scenarios and the generator: wrk on a core of its own, and perf around it."""

import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from benchlib import accounting

SCRIPTS = Path(__file__).resolve().parents[1] / "wrk"
GENERATOR_CORE = 1

SYSTEM_CALLS = "raw_syscalls:sys_enter"
PUNTS = "io_uring:io_uring_queue_async_work"


@dataclass(frozen=True)
class Scenario:
    """What the generator does: its connections, and wrk's further options before and after the URL."""

    name: str
    connections: int
    options: list = field(default_factory=list)
    script_arguments: list = field(default_factory=list)

    def command(self, url, seconds):
        """wrk with one thread, as it has one core."""
        words = ["wrk", "-t1", f"-c{self.connections}", f"-d{seconds}s", "--timeout", "5s", *self.options, url]
        return words + (["--", *self.script_arguments] if self.script_arguments else [])


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


def scenarios(names, connections):
    """The scenarios named; `hello` is one for each number of connections."""
    pipeline = ["-s", str(SCRIPTS / "pipeline.lua")]
    kinds = {
        "hello": [Scenario(f"hello-{count}", count) for count in connections],
        "pipelined": [Scenario("pipelined-16", 64, pipeline, ["16"])],
        "head": [Scenario("head", 64, ["-s", str(SCRIPTS / "browser.lua")])],
        "connect": [Scenario("connect", 64, ["-H", "Connection: close"])],
    }
    unknown = [name for name in names if name not in kinds]
    if unknown:
        raise SystemExit(f"bench: no scenario {', '.join(unknown)}; there are {', '.join(kinds)}")
    return [scenario for name in names for scenario in kinds[name]]


def start(command):
    """Starts a generator on its core; the caller waits for it."""
    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=accounting.pin_to(GENERATOR_CORE),
    )


def finish(process):
    """Waits for wrk, alone or under perf, and reads its report."""
    try:
        report, complaint = process.communicate()
    except BaseException:
        process.kill()
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
    return finish(start(scenario.command(url, seconds)))


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
    if not any(Path(base, "events/raw_syscalls").is_dir() for base in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")):
        return "tracefs is not mounted: mount -t tracefs nodev /sys/kernel/tracing"
    return None
