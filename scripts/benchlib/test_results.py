"""Checks of what turns measurements into figures, tables and charts; nothing here starts a process."""

import contextlib
import dataclasses
import io
import tempfile
import unittest
import xml.etree.ElementTree as xml
from pathlib import Path
from unittest import mock

from benchlib import chart, figures, load, openloop, peers, report, rounds


def document(scenarios, commit="abc1234", base="ring-floor", **more):
    """A run's file: `{scenario: {peer: (median, lower, upper)}}`."""
    results = []
    for scenario, found in scenarios.items():
        for peer, (median, lower, upper) in found.items():
            ratio = {"median": median, "lower": lower, "upper": upper}
            results.append({"scenario": scenario, "peer": peer, "cpu_us_median": 7.123 * median, "ratio": ratio})
    names = dict.fromkeys(peer for found in scenarios.values() for peer in found)
    setting = {
        "when": "2026-01-02T03:04:05Z",
        "commit": commit,
        "command": "scripts/bench --scenarios hello-64 --rounds 15 --seconds 1 --seed 7",
        "machine": "a processor",
        "kernel": "6.18",
        "cores": 2,
        "base": base,
        "rounds": 15,
        "seconds": 1.0,
        "peers": {name: {"version": f"{name} 1.0 (sha256 0123)", "command": name} for name in names},
    }
    return {"setting": setting, "results": [*results, *more.get("results", [])]}


BASE = (1.0, 1.0, 1.0)
HELLO = {"hello-64": {"ring-floor": BASE, "ringway": (1.004, 0.98, 1.02), "nginx": (1.41, 1.39, 1.44)}}
PIPELINED = {"pipelined-16": {"ring-floor": BASE, "ringway": (1.2, 1.1, 1.3), "nginx": (11.93, 11.5, 12.5)}}
IDLE = [{"scenario": "idle-10k", "peer": "ringway", "bytes_median": 264.3}]
LATENCY = [
    {
        "scenario": "latency",
        "peer": "nginx",
        "at_rate": 20_000,
        "cpu_us_median": 9.0,
        "ratio": {"median": 1.3, "lower": 1.2, "upper": 1.4},
        "latency_median": {"p50_us": 80, "p99_us": 300, "p999_us": 900, "late_us_p99": 20},
        "p99_ratio": {"median": 1.5, "lower": 1.4, "upper": 1.6},
    }
]


class Figures(unittest.TestCase):
    def test_pairs_are_of_the_same_round(self):
        self.assertEqual(figures.paired({1: 4.0, 2: 9.0, 3: 1.0}, {1: 2.0, 2: 3.0}), [2.0, 3.0])

    def test_a_tie_has_quartiles_on_both_sides_of_one(self):
        self.assertTrue(figures.spread([0.9, 1.0, 1.1]).straddles_one)
        self.assertFalse(figures.spread([1.01, 1.02, 1.03]).straddles_one)

    def test_a_missed_base_leaves_no_ratio(self):
        taken = {"cpu_us": {1: 7.0}, "windows": {1: {0: (7.0, 9)}}, "rate": {1: 100.0}}
        rounds.summarise(taken, {"cpu_us": {}, "windows": {}})
        self.assertIsNone(taken["ratio"])
        self.assertEqual(taken["cpu_us_median"], 7.0)

    def test_the_tail_is_paired_as_the_time_is(self):
        def of(p99):
            return {key: 10 for key in (*openloop.PERCENTILES, "late_us_p99")} | {"p99_us": p99}

        times = {"cpu_us": {1: 7.0, 2: 7.0}, "windows": {1: {0: (7.0, 9)}, 2: {0: (7.0, 9)}}, "rate": {1: 9.0, 2: 9.0}}
        taken = {**times, "latency": {1: of(200), 2: of(300)}}
        rounds.summarise(taken, {**times, "latency": {1: of(100), 2: of(100)}})
        self.assertEqual(taken["p99_ratio"]["median"], 2.5)


class Scenarios(unittest.TestCase):
    def test_kinds_and_single_names(self):
        named = load.scenarios(["hello", "hello-7", "echo-64k", "pipelined", "hello-64"], [1, 64])
        expected = ["hello-1", "hello-64", "hello-7", "echo-64k", "pipelined-16"]
        self.assertEqual([scenario.name for scenario in named], expected)
        with self.assertRaises(SystemExit):
            load.scenarios(["hello-0"], [1])

    def test_the_browser_s_head_is_read_from_its_script(self):
        head = load.browser_head()
        self.assertTrue(head.startswith("GET /?"))
        self.assertEqual(head.count("\r\n"), 1 + 12)
        self.assertIn("\r\nCookie: session=", head)

    def test_every_scenario_has_words(self):
        for kind in load.catalogue([1, 64]).values():
            for scenario in kind:
                self.assertTrue(scenario.kind == "idle" or report.words_of(scenario.name) != scenario.name)

    def test_the_estimate_grows_with_the_rounds(self):
        plan = rounds.Plan("ring-floor", 1, 1.0, 1, False, 7)
        named = load.scenarios(["hello"], [1, 64])
        few = rounds.estimate(named, 3, plan)
        self.assertEqual(rounds.estimate(named, 3, dataclasses.replace(plan, rounds=3)), 2 * few)


class Rounds(unittest.TestCase):
    def test_the_windows_of_a_round_are_weighed_by_their_requests(self):
        windows = [rounds.Sample(10.0, 100, 300.0, 0), rounds.Sample(40.0, 50, 150.0, 1)]
        whole = rounds.joined(windows)
        self.assertEqual((whole.cpu_us, whole.requests, whole.rate, whole.errors), (20.0, 150, 225.0, 1))

    def test_a_dropped_window_takes_its_partner_along(self):
        # The machine is twice as slow in the second turn, which the base has lost; and in the third, the peer's.
        slow = {0: (11.0, 100), 1: (22.0, 50), 3: (12.0, 100)}
        base = {0: (10.0, 100), 2: (20.0, 50), 3: (10.0, 300)}
        self.assertEqual(figures.paired_windows({1: slow}, {1: base}), [11.5 / 10.0])
        self.assertEqual(figures.paired_windows({1: slow}, {1: {2: (20.0, 50)}, 2: base}), [])

    def test_a_window_that_is_dropped_is_known_by_its_turn(self):
        def measured(scenario, running, seconds, rate):
            calls.append(running)
            # The second turn of the first round that counts.
            if len(calls) == 5:
                raise rounds.ThreadEnded("it is a test")
            return rounds.Sample(10.0 * len(calls), 100, 50.0, 0)

        class Peer:
            name = "epoll-floor"

            def start(self, service, body_size):
                return contextlib.nullcontext(self)

            def verify(self, *_):
                pass

        calls = []
        plan = rounds.Plan("epoll-floor", 1, 0.9, 3, False, 7)
        scenario = load.scenarios(["hello"], [1])[0]
        with mock.patch.object(rounds, "measure", measured), contextlib.redirect_stderr(io.StringIO()) as complaint:
            taken = rounds.interleave(scenario, [Peer()], plan, None, rounds.Record())["epoll-floor"]
        self.assertEqual(taken["windows"], {1: {0: (40.0, 100), 2: (60.0, 100)}})
        self.assertEqual((taken["cpu_us"], taken["rate"]), ({1: 50.0}, {1: 50.0}))
        self.assertIn("window in round 1 of hello-1 dropped: epoll-floor: it is a test", complaint.getvalue())

    def test_a_peer_that_fails_leaves_and_the_others_go_on(self):
        record, left = rounds.Record(), [peers.floor("ring-floor", Path("a")), peers.floor("epoll-floor", Path("b"))]
        scenario = load.scenarios(["hello"], [1])[0]
        with rounds.leaving(scenario, left[0], left, record):
            raise RuntimeError("it is a test")
        with rounds.leaving(scenario, left[0], left, record):
            pass
        self.assertEqual([peer.name for peer in left], ["epoll-floor"])
        self.assertEqual(record.failures, [f"{scenario.name}: ring-floor: it is a test"])


class Peers(unittest.TestCase):
    def test_what_is_not_there_is_left_out_with_a_word(self):
        nginx = peers.catalogue()["nginx"]
        self.assertIsNone(nginx.lacks("static"))
        self.assertIn("n/a", nginx.lacks("echo"))
        may = peers.catalogue()["may_minihttp"]
        self.assertIn("ends no connection", may.lacks("connect"))
        self.assertEqual((may.closes, nginx.closes), (False, True))
        absent = peers.linked("ringway", Path("nowhere/ringway"), "uring")
        self.assertIn("cargo build", absent.missing())
        self.assertIn("--example static_body", absent.lacks("static"))

    def test_floors_are_started_by_service(self):
        floor = peers.floor("ring-floor", Path("nowhere"))
        self.assertEqual(floor.command(80, service="static", body_size=9)[1:], ["80", "--body", "9"])
        self.assertEqual(floor.shown("echo"), "ring-floor PORT --echo")


class Report(unittest.TestCase):
    def test_cells(self):
        left_out = [{"scenario": "latency", "peer": "ring-floor", "reason": "it is a test"}]
        run = document(HELLO | PIPELINED, results=IDLE + LATENCY)
        run |= {"left_out": left_out, "failures": ["latency: ringway: it: is a test"]}
        text = report.markdown(report.merge([run]))
        self.assertIn("| hello, 64 connections | 7.12 µs | ***1.00*** | 1.41 |", text)
        self.assertIn("| pipelined by 16, 64 connections | 7.12 µs | **1.20** | 11.9 |", text)
        self.assertIn("| p99 latency at 20,000 requests a second, open loop | n/a | **failed** | 1.50 |", text)
        self.assertIn("| – | **264** | – |", text)
        self.assertIn("2026-01-02, commit abc1234", text)
        self.assertIn("nginx 1.0", text)

    def test_a_later_file_takes_whole_scenarios(self):
        later = document({"hello-64": {"ring-floor": BASE, "ringway": (0.9, 0.8, 0.95)}}, commit="fedcba9")
        merged = report.merge([document(HELLO | PIPELINED), later])
        self.assertEqual(list(merged.results), ["hello-64", "pipelined-16"])
        self.assertNotIn("nginx", merged.results["hello-64"])
        text = report.markdown(merged)
        self.assertIn("| 7.12 µs | **0.90** | – |", text)
        self.assertIn("fedcba9", text)
        self.assertIn("(pipelined-16): `", text)

    def test_different_bases_are_no_table(self):
        with self.assertRaises(SystemExit):
            report.merge([document(HELLO), document(PIPELINED, base="nginx")])

    def test_only_what_is_between_the_markers_is_replaced(self):
        with tempfile.TemporaryDirectory() as home:
            path = Path(home, "README.md")
            path.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
            report.write(path, "new")
            self.assertEqual(path.read_text(), f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n")
            path.write_text("a file of somebody's\n")
            with self.assertRaises(SystemExit):
                report.write(path, "new")


class Chart(unittest.TestCase):
    def test_bars_whiskers_and_cuts(self):
        drawn = chart.svg(report.merge([document(HELLO | PIPELINED, results=IDLE + LATENCY)]))
        root = xml.fromstring(drawn)
        name = "{http://www.w3.org/2000/svg}"
        bars = [rect for rect in root.iter(f"{name}rect") if rect.get("class") != "ground"]
        self.assertEqual(len(bars), 3 + 3 + 1 + 1)
        self.assertEqual([bar.get("class") for bar in bars[:3]], ["floor", "own", "field"])
        self.assertTrue(all(float(bar.get("width")) <= chart.PLOT_WIDTH for bar in bars))
        paths = [path.get("class") for path in root.iter(f"{name}path")]
        self.assertEqual((paths.count("cut"), paths.count("whisker"), paths.count("one")), (2, 5, 4))
        self.assertIn("prefers-color-scheme: dark", drawn)
        self.assertNotIn("<script", drawn)


if __name__ == "__main__":
    unittest.main()
