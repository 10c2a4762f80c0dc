"""Starts the server under test, and stops it again.

The kind is `ringway` (the binary named by RINGWAY_BIN) or `gunicorn`, which is
the control: a test that fails there is wrong about WSGI, not about Ringway.
"""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

KINDS = ("ringway", "gunicorn")

# What `--server` said; conftest.py sets it before any test is collected.
kind = "ringway"

START_SECONDS = 30
STOP_SECONDS = 20

READY = {
    "ringway": re.compile(r" on http://127\.0\.0\.1:(\d+)"),
    "gunicorn": re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)"),
}


def _command(kind, target, threads, flags):
    if kind == "ringway":
        command = [
            # The server starts in another directory, so a relative path to it
            # has to be made absolute here.
            os.path.abspath(os.environ["RINGWAY_BIN"]),
            target,
            *([] if "--interface" in flags else ["--interface", "wsgi"]),
            "--bind",
            "127.0.0.1:0",
            "--workers",
            "1",
            # Each test looks for the traceback of its own fault.
            *([] if "--log-faults" in flags else ["--log-faults", "1000"]),
        ]
        if threads is not None:
            command += ["--threads", str(threads)]
        return [*command, *flags]
    if kind == "gunicorn":
        # The flags are Ringway's own, and mean nothing here. The control
        # socket is off because it would be a file outside of the test's reach.
        return [
            sys.executable,
            "-m",
            "gunicorn",
            "-b",
            "127.0.0.1:0",
            "--threads",
            str(threads or 4),
            "--no-control-socket",
            target,
        ]
    raise ValueError(f"no such kind of server: {kind}")


def _environment(extra):
    environment = dict(os.environ)
    # Lines have to arrive when they are written, not when a buffer is full.
    environment["PYTHONUNBUFFERED"] = "1"
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    # An embedded interpreter finds the packages of these tests by this, even
    # if pytest was called by its path and no environment was activated.
    if sys.prefix != sys.base_prefix:
        environment["VIRTUAL_ENV"] = sys.prefix
    environment.update(extra or {})
    return environment


class Server:
    """One running server. Use it by `start`, as a context manager."""

    host = "127.0.0.1"

    def __init__(self, kind, command, cwd, env):
        self.kind = kind
        self.port = None
        self._ready = READY[kind]
        self._lines = []
        self._news = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=_environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def url(self):
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def _read(self):
        for line in self.process.stderr:
            with self._news:
                self._lines.append(line)
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()

    def stderr_text(self):
        """Everything the server has written to stderr so far."""
        with self._news:
            return "".join(self._lines)

    def wait_for(self, pattern, seconds=10):
        """The first match of `pattern` in a line of stderr, waited for."""
        pattern = re.compile(pattern)
        until = time.monotonic() + seconds
        seen = 0
        with self._news:
            while True:
                for line in self._lines[seen:]:
                    if match := pattern.search(line):
                        return match
                seen = len(self._lines)
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    why = "ended" if self._ended else f"{seconds} s passed"
                    raise AssertionError(
                        f"{why} before stderr had {pattern.pattern!r}:\n"
                        + "".join(self._lines)
                    )
                self._news.wait(left)

    def stop(self, seconds=STOP_SECONDS):
        """Asks the server to end, and gives its exit code."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.wait(seconds)

    def wait(self, seconds=STOP_SECONDS):
        """Waits for the server to end by itself, and gives its exit code."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(seconds)
            raise AssertionError(
                f"did not end within {seconds} s:\n{self.stderr_text()}"
            ) from None
        finally:
            self._reader.join(seconds)
        return code

    def __enter__(self):
        try:
            self.port = int(self.wait_for(self._ready, START_SECONDS)[1])
        except BaseException:
            self.process.kill()
            self.wait()
            raise
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.stop()
            return
        # The test has failed already: its error is worth more than one about
        # a server that ends late, and what the server said belongs to it.
        try:
            self.stop()
        except AssertionError:
            pass
        error.add_note(f"stderr of {self.kind}:\n{self.stderr_text()}")


def start(target, *, cwd, flags=(), env=None, threads=None):
    """A server for `target`, as a context manager that waits for readiness.

    `flags` are for Ringway only; `env` is added to the environment.
    """
    command = _command(kind, target, threads, flags)
    return Server(kind, command, Path(cwd), env)
