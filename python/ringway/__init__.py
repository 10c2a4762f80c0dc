"""Ringway: an HTTP server for Linux on io_uring that runs WSGI applications (PEP 3333)."""

import sys

from ringway._ringway import run

__all__ = ["main"]


def main():
    """The console script: serves as the command line says, and ends the process with its exit code."""
    run(sys.executable, sys.argv[1:])
