"""Measured ratios into an SVG: a panel for each scenario, a bar for each peer, whiskers from quartile to quartile.

The chart is one file without scripts or fonts of its own, and follows the reader's light or dark background. All panels
share one scale, on which the base is 1; a bar that would leave it is cut, and its number says by how much. This module
performs no I/O.
"""

from html import escape

from benchlib import report

WIDTH = 1080
MARGIN = 24
GAP = 36
PANEL_COUNT = 2
PANEL_WIDTH = (WIDTH - 2 * MARGIN - GAP) // PANEL_COUNT
PANEL_HEAD = 30
LABEL_WIDTH = 140
NUMBER_WIDTH = 58
BAR_HEIGHT = 12
ROW_HEIGHT = 18
SCALE_MAX = 2.5
PLOT_WIDTH = PANEL_WIDTH - LABEL_WIDTH - NUMBER_WIDTH
CHARACTERS_MAX = 150
READING = "Medians of ratios within interleaved rounds, whiskers at the quartiles; less is better."

STYLE = """\
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; font-size: 12px; fill: #1f2328; }
.ground { fill: #ffffff; }
.title { font-size: 18px; font-weight: 600; }
.note { font-size: 11.5px; fill: #59636e; }
.panel { font-size: 13px; font-weight: 600; }
.end { text-anchor: end; }
.ours { font-weight: 700; }
.field { fill: #9aa9bb; }
.floor { fill: #c9ced6; }
.own { fill: #d9712b; }
.one { stroke: #59636e; stroke-width: 1; stroke-dasharray: 3 2; }
.whisker { stroke: #1f2328; stroke-width: 1.2; fill: none; }
.cut { fill: #ffffff; }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3; }
  .ground { fill: #0d1117; }
  .note { fill: #9198a1; }
  .field { fill: #56657a; }
  .floor { fill: #3a424d; }
  .own { fill: #e08543; }
  .one { stroke: #9198a1; }
  .whisker { stroke: #e6edf3; }
  .cut { fill: #0d1117; }
}
"""


def svg(merged):
    """The chart of all scenarios that have ratios, the tail of the open loop among them."""
    panels = []
    for name, found in merged.of_kind("cpu_us_median").items():
        panels.append((report.words_of(name), bars(merged, found, "ratio")))
    for found in merged.of_kind("latency_median").values():
        panels.append(("p99 latency at a constant rate, open loop", bars(merged, found, "p99_ratio")))
    panels = [(title, rows) for title, rows in panels if rows]
    notes = [line for setting in merged.settings for line in wrapped(provenance(setting))]
    top = MARGIN + 44 + 16 * len(notes) + 12
    drawn, bottom = [], top
    for start in range(0, len(panels), PANEL_COUNT):
        beside = panels[start : start + PANEL_COUNT]
        for column, (title, rows) in enumerate(beside):
            drawn += panel(MARGIN + column * (PANEL_WIDTH + GAP), bottom, title, rows)
        bottom += PANEL_HEAD + ROW_HEIGHT * max(len(rows) for _, rows in beside) + 18
    title = f"CPU time of a request, {merged.base} = 1"
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom}"'
        f' viewBox="0 0 {WIDTH} {bottom}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>\n{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{bottom}"/>',
        text(MARGIN, MARGIN + 14, title, "title"),
        text(MARGIN, MARGIN + 36, READING, "note"),
        *(text(MARGIN, MARGIN + 52 + 16 * index, line, "note") for index, line in enumerate(notes)),
    ]
    return "\n".join([*head, *drawn, "</svg>"]) + "\n"


def bars(merged, found, key):
    """The peers of a panel with their ratios, in the order of the table."""
    return [(peer, found[peer][key]) for peer in merged.peers if peer in found and found[peer].get(key)]


def provenance(setting):
    quick = "a quick run, an impression; " if setting.get("quick") else ""
    machine = f"{setting.get('machine', 'unknown processor')}, {setting['cores']} cores, Linux {setting['kernel']}"
    rounds = f"{setting['rounds']} rounds of {setting['seconds']:g} s, loopback, one worker"
    return f"{quick}{setting['when'][:10]}, commit {setting['commit']}, {machine}; {rounds}"


def panel(left, top, title, rows):
    zero = left + LABEL_WIDTH
    one = zero + PLOT_WIDTH / SCALE_MAX
    first = top + PANEL_HEAD
    lines = [text(left, top + 16, title, "panel")]
    for index, (peer, ratio) in enumerate(rows):
        lines += bar(zero, first + index * ROW_HEIGHT, peer, ratio)
    lines.append(f'<path class="one" d="M{one:.1f} {first - 4}V{first + len(rows) * ROW_HEIGHT}"/>')
    return lines


def bar(zero, top, peer, ratio):
    """A peer's name, its bar with whiskers, and its number."""
    ours = " ours" if peer == "ringway" else ""
    size = on_scale(ratio["median"])
    spread = f"{ratio['median']:.3f}, quartiles {ratio['lower']:.3f} and {ratio['upper']:.3f}"
    lines = [
        text(zero - 8, top + 10.5, peer, f"end{ours}"),
        f'<rect class="{colour(peer)}" x="{zero}" y="{top}" width="{size:.1f}" height="{BAR_HEIGHT}" rx="1.5">'
        f"<title>{escape(peer)}: {spread}</title></rect>",
    ]
    if ratio["median"] > SCALE_MAX:
        # Two slanted strips near its end: the bar is longer than this.
        for offset in (20, 28):
            x = zero + PLOT_WIDTH - offset
            lines.append(f'<path class="cut" d="M{x} {top + BAR_HEIGHT}l4 {-BAR_HEIGHT}h3l-4 {BAR_HEIGHT}z"/>')
    elif ratio["upper"] > ratio["lower"]:
        lower, upper = zero + on_scale(ratio["lower"]), zero + on_scale(ratio["upper"])
        line, tick = f"{top + BAR_HEIGHT / 2:.1f}", f"{top + BAR_HEIGHT / 2 - 3:.1f}v6"
        path = f"M{lower:.1f} {line}H{upper:.1f}M{lower:.1f} {tick}M{upper:.1f} {tick}"
        lines.append(f'<path class="whisker" d="{path}"/>')
    number = report.number(ratio["median"])
    lines.append(text(zero + PLOT_WIDTH + NUMBER_WIDTH - 8, top + 10.5, number, f"end{ours}"))
    return lines


def colour(peer):
    """The class of a bar: this server in any of its builds, the bare loops, the rest of the field."""
    if peer.startswith(("ringway", "before", "wsgi-ringway")):
        return "own"
    return "floor" if peer.endswith("-floor") else "field"


def on_scale(value):
    return min(value, SCALE_MAX) / SCALE_MAX * PLOT_WIDTH


def text(x, y, words, style):
    return f'<text x="{x}" y="{y}" class="{style}">{escape(words)}</text>'


def wrapped(words):
    """Lines that the width has room for, broken between words."""
    lines = [""]
    for word in words.split():
        if len(lines[-1]) + 1 + len(word) > CHARACTERS_MAX:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
