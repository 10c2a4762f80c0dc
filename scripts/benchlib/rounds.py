"""Interleaved rounds: every peer afresh in each of them, all of them at once, measured by turns in windows of less than a
second, and the ratio to the base within each round. So what else the machine does falls on all alike."""

import contextlib
import random
import sys
import time
from dataclasses import dataclass, field

from benchlib import accounting, figures, load, memory, openloop
from benchlib.server import Refused, Unable

# What starting, verifying and ending a server takes, about, beside the measurement itself.
OVERHEAD_SECONDS = 0.3
IDLE_SECONDS = 2.0
EVENTS_SECONDS = 1


class ThreadEnded(Exception):
    """A measurement whose sum is short, which is no fault of the server: kernel workers end when they idle."""


class LeftOut(Exception):
    """A scenario that nobody can be measured in here; the text says why."""


@dataclass
class Plan:
    """How a run measures."""

    base: str
    rounds: int
    # Of load for each peer in each round, in so many windows, between which the others have theirs.
    seconds: float
    windows: int
    syscalls: bool
    seed: int
    rate: int | None = None
    # Seconds that a scenario may take, the thrown-away round included; fewer rounds are kept rather than more taken.
    scenario_seconds_max: float | None = None

    def __post_init__(self):
        self.shuffle = random.Random(self.seed).shuffle


@dataclass
class Record:
    """What a run has found so far."""

    results: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    left_out: list = field(default_factory=list)

    def fail(self, scenario, peer, error):
        self.failures.append(f"{scenario.name}: {peer.name}: {error}")
        print(f"FAILED {self.failures[-1]}", file=sys.stderr, flush=True)

    def leave_out(self, scenario, peer, reason):
        self.left_out.append({"scenario": scenario.name, "peer": peer.name, "reason": str(reason)})


@dataclass
class Sample:
    """What a window, or all windows of a round, have measured of one peer."""

    cpu_us: float
    requests: float
    rate: float
    errors: int
    latency: dict | None = None


def estimate(scenarios, peer_count, plan):
    """Seconds that a run takes, about."""
    total = 0.0
    for scenario in scenarios:
        if scenario.kind == "idle":
            total += memory.IDLE_ROUNDS * peer_count * IDLE_SECONDS
            continue
        each = plan.seconds + OVERHEAD_SECONDS + (openloop.WARMUP_SECONDS if scenario.kind == "latency" else 0)
        total += (plan.rounds + 1) * peer_count * each
        if plan.syscalls and scenario.kind == "load":
            total += peer_count * (EVENTS_SECONDS + 2 * OVERHEAD_SECONDS)
    return total


def take(scenario, chosen, plan, record):
    """All of one scenario, into the record."""
    able = []
    for peer in chosen:
        if reason := peer.lacks(scenario.service):
            record.leave_out(scenario, peer, reason)
        else:
            able.append(peer)
    if scenario.kind == "idle":
        take_idle(scenario, able, plan, record)
        return
    rate = latency_rate(plan, record) if scenario.kind == "latency" else None
    taken = interleave(scenario, able, plan, rate, record)
    for peer in able:
        figure = taken[peer.name]
        if figure["cpu_us"]:
            if plan.syscalls and scenario.kind == "load":
                figure["events"] = count_events(scenario, peer)
            summarise(figure, taken.get(plan.base))
            record.results.append({"scenario": scenario.name, "peer": peer.name, "at_rate": rate, **figure})


def latency_rate(plan, record):
    if reason := openloop.missing():
        raise LeftOut(reason)
    rate = plan.rate or openloop.half_of_slowest(record.results)
    if rate is None:
        raise LeftOut("its rate is half of the slowest peer's at hello-64, which was not measured: add it, or --rate")
    return rate


def interleave(scenario, able, plan, rate, record):
    """All rounds of a scenario. A peer that fails is named at once and takes no further part in it."""
    taken = {peer.name: {"cpu_us": {}, "windows": {}, "rate": {}, "errors": 0} for peer in able}
    left = list(able)
    began = time.monotonic()
    for number in range(plan.rounds + 1):
        spent = time.monotonic() - began
        if plan.scenario_seconds_max and number > 1 and spent * (number + 1) / number > plan.scenario_seconds_max:
            break
        for name, samples in take_round(scenario, left, plan, rate, record, number).items():
            if number > 0:
                add(taken[name], number, samples)
    return taken


def take_round(scenario, left, plan, rate, record, number):
    """Every server's whole life: start and verify all, measure them by turns, end them. What fails leaves `left`. Answers
    the samples of each peer by turn.
    """
    samples = {}
    with contextlib.ExitStack() as stack:
        running = {}
        plan.shuffle(left)
        for peer in list(left):
            with leaving(scenario, peer, left, record):
                running[peer.name] = stack.enter_context(peer.start(scenario.service, scenario.body_size))
                scenario.verify(running[peer.name])
        windows = 1 if scenario.kind == "latency" else plan.windows
        for turn in range(windows):
            plan.shuffle(left)
            for peer in list(left):
                with leaving(scenario, peer, left, record):
                    try:
                        sample = measure(scenario, running[peer.name], plan.seconds / windows, rate)
                        samples.setdefault(peer.name, {})[turn] = sample
                    except ThreadEnded as error:
                        print(f"window in round {number} of {scenario.name} dropped: {peer.name}: {error}", file=sys.stderr)
    return {peer.name: samples[peer.name] for peer in left if peer.name in samples}


@contextlib.contextmanager
def leaving(scenario, peer, left, record):
    """Takes the peer out of the scenario where it fails, and says why."""
    try:
        yield
    except Unable as error:
        record.leave_out(scenario, peer, f"n/a: {error}")
        left.remove(peer)
    except (Refused, RuntimeError) as error:
        record.fail(scenario, peer, error)
        left.remove(peer)


def joined(samples):
    """The windows of one round as one: the time of a request is that of all requests together, the rate is the mean of the
    windows' rates, and a latency, of which there is one window, is the last.
    """
    requests = sum(sample.requests for sample in samples)
    cpu_us = figures.joined([(sample.cpu_us, sample.requests) for sample in samples])
    rate = sum(sample.rate for sample in samples) / len(samples)
    return Sample(cpu_us, requests, rate, sum(sample.errors for sample in samples), samples[-1].latency)


def add(figure, number, samples):
    """A round's samples, by turn, into what a peer's rounds gave."""
    sample = joined(list(samples.values()))
    figure["windows"][number] = {turn: (one.cpu_us, one.requests) for turn, one in samples.items()}
    figure["cpu_us"][number] = sample.cpu_us
    figure["rate"][number] = sample.rate
    figure["errors"] += sample.errors
    if sample.latency:
        figure.setdefault("latency", {})[number] = sample.latency


def measure(scenario, running, seconds, rate=None):
    """One window of one server."""
    before = accounting.cpu_ns(running.pid)
    if scenario.kind == "latency":
        sample = open_loop_sample(openloop.run(scenario, running.url, seconds, rate))
    else:
        outcome = load.run(scenario, running.url, seconds)
        sample = Sample(0.0, outcome.requests, outcome.requests / outcome.seconds, outcome.faults)
    spent_ns, lost = accounting.cpu_spent_ns(before, accounting.cpu_ns(running.pid))
    running.must_live(" under load")
    if lost:
        raise ThreadEnded(f"{lost} threads ended within the window and took their CPU time along")
    if sample.requests == 0:
        raise Refused("no request was completed")
    sample.cpu_us = spent_ns / 1000 / sample.requests
    return sample


def open_loop_sample(report):
    """The sample, with all requests of the run, those of the warm-up too, for the server's time holds them all."""
    seconds = report["seconds"]
    latency = {key: report[key] for key in (*openloop.PERCENTILES, "late_us_p99")}
    requests = report["completed"] * (seconds + openloop.WARMUP_SECONDS) / seconds
    return Sample(0.0, requests, report["completed"] / seconds, report["errors"], latency)


def take_idle(scenario, able, plan, record):
    if reason := memory.idle_impossible(scenario):
        raise LeftOut(reason)
    taken = {peer.name: {} for peer in able}
    left = list(able)
    for number in range(1, memory.IDLE_ROUNDS + 1):
        plan.shuffle(left)
        for peer in list(left):
            try:
                taken[peer.name][number] = memory.idle_once(scenario, peer)
            except (Refused, OSError) as error:
                record.fail(scenario, peer, error)
                left.remove(peer)
    for peer in able:
        if peer in left:
            sizes = taken[peer.name]
            median = figures.spread(list(sizes.values())).median
            result = {"bytes_per_connection": sizes, "bytes_median": median}
            record.results.append({"scenario": scenario.name, "peer": peer.name, **result})


def count_events(scenario, peer):
    """System calls and punts a request, in a pass of its own."""
    try:
        with peer.start(scenario.service, scenario.body_size) as running:
            counted = load.count_events(running, scenario, EVENTS_SECONDS)
    except Refused as error:
        counted = str(error)
    if isinstance(counted, str):
        print(f"system calls of {peer.name} were not counted: {counted}", file=sys.stderr, flush=True)
        return None
    return {"system_calls_per_request": counted[0], "punts_per_request": counted[1]}


def summarise(taken, base):
    """Adds the medians and the ratios' spread to what a peer's rounds gave."""
    ratios = figures.paired_windows(taken["windows"], base["windows"]) if base else []
    taken["ratio"] = vars(figures.spread(ratios)) if ratios else None
    taken["cpu_us_median"] = figures.spread(list(taken["cpu_us"].values())).median
    taken["rate_median"] = figures.spread(list(taken["rate"].values())).median
    if "latency" in taken:
        by_round = taken["latency"]
        keys = (*openloop.PERCENTILES, "late_us_p99")
        taken["latency_median"] = {key: figures.spread([row[key] for row in by_round.values()]).median for key in keys}
        tail = {number: row["p99_us"] for number, row in by_round.items()}
        base_tail = {number: row["p99_us"] for number, row in (base or {}).get("latency", {}).items()}
        ratios = figures.paired(tail, base_tail)
        taken["p99_ratio"] = vars(figures.spread(ratios)) if ratios else None
