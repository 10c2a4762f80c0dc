"""The open loop: requests sent by a schedule, whatever the server does, and latency counted from the schedule.

A closed loop such as wrk's sends the next request when it has the answer, so a server that stalls is asked less
while it stalls, and the wait of all who would have asked is omitted. The generator is `open-loop` of benches/peers.
"""

import json
import os
import subprocess

from benchlib import load, peers

BINARY = peers.built(peers.FIELD).parent / "open-loop"
WARMUP_SECONDS = 1
STALL_SECONDS_MAX = 15
PERCENTILES = ("p50_us", "p99_us", "p999_us")
# Sends that leave late by more are the generator's fault, and say so in the figures.
LATE_US_MAX = 1000


def missing():
    """Why there is no latency to be had, or None."""
    return None if os.access(BINARY, os.X_OK) else f"open-loop is not built: {peers.BUILD_FIELD}"


def run(scenario, url, seconds, rate):
    """One run after its warm-up, as the generator's own report."""
    words = [str(BINARY), url.rstrip("/") + scenario.path, "--seconds", f"{seconds:g}", "--warmup", str(WARMUP_SECONDS)]
    process = load.start([*words, "--rate", str(rate), "--connections", str(scenario.connections)])
    try:
        text, complaint = process.communicate(timeout=seconds + WARMUP_SECONDS + STALL_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        load.kill(process)
        raise RuntimeError(f"open-loop had not its answers {STALL_SECONDS_MAX} s after the last request") from None
    except BaseException:
        load.kill(process)
        raise
    try:
        report = json.loads(text.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise RuntimeError(f"open-loop gave no report: {(complaint or text).strip()[-300:]}") from None
    if not report["completed"]:
        raise RuntimeError("open-loop had no answer")
    return report


def half_of_slowest(results):
    """Half of what the slowest peer did at hello-64 in this run, in hundreds of requests a second; or None."""
    rates = [result["rate_median"] for result in results if result["scenario"] == "hello-64"]
    return max(100, int(min(rates) / 200) * 100) if rates else None
