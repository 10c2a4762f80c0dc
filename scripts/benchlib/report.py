"""Measured results into the README's table. `write` alone touches a file."""

from dataclasses import dataclass, field

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
UNABLE, FAILED, NOT_MEASURED = "n/a", "failed", "–"

# What a reader is told of a scenario; those of `hello-N` are made.
WORDS = {
    "pipelined-16": "pipelined by 16, 64 connections",
    "head": "a browser's head (13 fields), 64",
    "connect": "a new connection for each request, 64",
    "echo-1k": "POST, 1 KiB echoed, 64",
    "echo-64k": "POST, 64 KiB echoed, 64",
    "echo-1m": "POST, 1 MiB echoed, 16",
    "static-256k": "a static body of 256 KiB, 64",
    "latency": "hello at a constant rate, 64",
}


IDLE_WORDS = "resident bytes of an idle connection, of 10,000"


@dataclass
class Merged:
    """Scenarios by name, each with the peers' results and the setting of the run that measured it."""

    base: str
    peers: list
    settings: list = field(default_factory=list)
    results: dict = field(default_factory=dict)
    setting_of: dict = field(default_factory=dict)
    # Why a cell is empty, by scenario and peer.
    absent: dict = field(default_factory=dict)

    def gap(self, scenario, peer):
        return self.absent.get((scenario, peer), NOT_MEASURED)

    def of_kind(self, key):
        """Scenarios whose results have a figure: `{scenario: {peer: result}}`."""
        return {name: found for name, found in self.results.items() if any(key in result for result in found.values())}


def merge(documents):
    """Several runs as one. A scenario is taken whole from the last that has it, for ratios hold within a run only."""
    results, setting_of, absent = {}, {}, {}
    for document in documents:
        by_scenario = {}
        for result in document["results"]:
            by_scenario.setdefault(result["scenario"], {})[result["peer"]] = result
        results.update(by_scenario)
        setting_of.update(dict.fromkeys(by_scenario, document["setting"]))
        absent = {key: word for key, word in absent.items() if key[0] not in by_scenario} | gaps(document)
    if not results:
        raise SystemExit("bench: nothing was measured, so there is nothing to report")
    settings = [document["setting"] for document in documents if document["setting"] in setting_of.values()]
    bases = {setting["base"] for setting in settings}
    if len(bases) > 1:
        raise SystemExit(f"bench: ratios to different bases are no table: {', '.join(sorted(bases))}")
    seen = {peer for found in results.values() for peer in found}
    peers = [peer for peer in dict.fromkeys(peer for setting in settings for peer in setting["peers"]) if peer in seen]
    base = bases.pop()
    peers.sort(key=lambda peer: peer != base)
    ordered = dict(sorted(results.items(), key=lambda item: place(item[0])))
    return Merged(base, peers, settings, ordered, setting_of, absent)


def gaps(document):
    """What a run says of peers that have no figure in a scenario."""
    found = {(entry["scenario"], entry["peer"]): UNABLE for entry in document.get("left_out", [])}
    for failure in document.get("failures", []):
        scenario, peer, _ = failure.split(": ", 2)
        found[scenario, peer] = FAILED
    return found


def place(scenario):
    """The order of the table: hello by connections, then as the words have it."""
    if scenario.startswith("hello-"):
        return (0, int(scenario.split("-")[1]))
    names = list(WORDS)
    return (1, names.index(scenario) if scenario in names else len(names))


def words_of(scenario):
    if scenario.startswith("hello-"):
        count = int(scenario.split("-")[1])
        return f"hello, {count} connection{'s' if count > 1 else ''}"
    return WORDS.get(scenario, scenario)


def markdown(merged):
    """The tables with what is needed to read and to repeat them."""
    parts = [legend(merged), main_table(merged)]
    if calls := calls_table(merged):
        parts += ["System calls a request, counted in a pass of their own:", calls]
    return "\n\n".join([*parts, provenance(merged)])


def legend(merged):
    text = (
        f"CPU time of the server for a request, as a ratio to `{merged.base}` in each round: medians, less is better. "
        f"The first column has the time that is 1.00. *Slanted* is a tie: the quartiles lie on both sides of 1. "
        f"{UNABLE}: the peer has no such answer."
    )
    quick = any(setting.get("quick") for setting in merged.settings)
    return text + (" **From a quick run: an impression, not to be quoted.**" if quick else "")


def main_table(merged):
    others = [peer for peer in merged.peers if peer != merged.base]
    rows = []
    for name, found in merged.of_kind("cpu_us_median").items():
        times = {peer: microseconds(result["cpu_us_median"]) for peer, result in found.items()}
        rows.append([words_of(name), *ratio_cells(merged, name, "ratio", times)])
    for name, found in merged.of_kind("latency_median").items():
        rate = next(result["at_rate"] for result in found.values())
        times = {peer: microseconds(result["latency_median"]["p99_us"]) for peer, result in found.items()}
        words = f"p99 latency at {rate:,} requests a second, open loop"
        rows.append([words, *ratio_cells(merged, name, "p99_ratio", times)])
    for name, found in merged.of_kind("bytes_median").items():
        sizes = {peer: f"{result['bytes_median']:,.0f}" for peer, result in found.items()}
        rows.append([IDLE_WORDS, *(emphasis(peer, sizes.get(peer) or merged.gap(name, peer)) for peer in merged.peers)])
    return table(["", merged.base, *map(emphasis, others, others)], rows)


def ratio_cells(merged, scenario, key, absolute):
    """The base's own figure, then the others' ratios to it: a tie is slanted, and this server is bold. Where the base
    has none, and so there is no ratio, the figure itself.
    """
    cells = []
    for peer in merged.peers:
        text = absolute.get(peer) or merged.gap(scenario, peer)
        ratio = merged.results[scenario].get(peer, {}).get(key)
        if ratio and peer != merged.base:
            text = number(ratio["median"])
            text = f"*{text}*" if ratio["lower"] <= 1.0 <= ratio["upper"] else text
        cells.append(emphasis(peer, text))
    return cells


def calls_table(merged):
    rows = []
    for name, found in merged.results.items():
        counted = {peer: result["events"] for peer, result in found.items() if result.get("events")}
        texts = {peer: f"{events['system_calls_per_request']:.2f}" for peer, events in counted.items()}
        if texts:
            cells = (emphasis(peer, texts.get(peer) or merged.gap(name, peer)) for peer in merged.peers)
            rows.append([words_of(name), *cells])
    return table(["", *map(emphasis, merged.peers, merged.peers)], rows) if rows else ""


def number(ratio):
    return f"{ratio:.2f}" if ratio < 9.95 else f"{ratio:.1f}"


def emphasis(peer, text):
    return f"**{text}**" if peer == "ringway" else text


def microseconds(value):
    return f"{value:.2f} µs" if value < 9.995 else f"{value:,.1f} µs" if value < 99.95 else f"{value:,.0f} µs"


def table(columns, rows):
    lines = [columns, ["---", *(["--:"] * (len(columns) - 1))], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def provenance(merged):
    """When, where and by what command; and who was measured."""
    lines = []
    for setting in merged.settings:
        names = [name for name in merged.results if merged.setting_of[name] == setting]
        what = "" if len(merged.settings) == 1 else f" ({', '.join(names)})"
        lines.append(
            f"- {setting['when'][:10]}, commit {setting['commit']}, {setting.get('machine', 'unknown processor')}, "
            f"{setting['cores']} cores, Linux {setting['kernel']}, loopback, one worker{what}: `{setting['command']}`"
        )
    versions = {}
    for setting in merged.settings:
        for peer, facts in setting["peers"].items():
            if peer in merged.peers:
                versions[peer] = facts["version"].split(" (sha256")[0].removeprefix("nginx version: ")
    # The floors have a digest and nothing else.
    named = [
        text if text.startswith(peer) else f"{peer}: {text}" for peer, text in versions.items() if "sha256" not in text
    ]
    return "\n".join([*lines, *([f"- Versions: {', '.join(named)}"] if named else [])])


def write(path, text):
    """Between the markers of a file that has them; else the text is the file."""
    if not path.exists():
        path.write_text(text + "\n", encoding="utf-8")
        return
    before, after = around(path)
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


def around(path):
    """What stands before and after the markers of a file; a file without them is not ours to overwrite."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"bench: {path.name} exists and has no {BEGIN} before {END}; nothing was written")
    return before, after
