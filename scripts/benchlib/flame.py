"""Stacks into an SVG: reads `perf script`, folds equal stacks, draws a flame graph.

The graph is one file without scripts or fonts of its own. Width is time on the CPU, the root is at the bottom, and
a frame's title, which a browser shows under the pointer, is its whole name with its samples and share. Colours
tell layers apart: the kernel, this project's crates with httparse, other code. It reads and writes no file.
"""

import re
import subprocess
from collections import Counter
from html import escape

WIDTH = 1600
FRAME_HEIGHT = 17
MARGIN = 10
HEADER_HEIGHT = 64
CHARACTER_WIDTH = 6.6
# Narrower frames can't be seen and would be most of the file.
WIDTH_MIN = 0.3

KERNEL, OURS, OTHER = "#e8896b", "#e8c15a", "#9fb8a8"

FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<symbol>.+?)(?:\+0x[0-9a-f]+)? \((?P<object>[^()]*(?:\([^()]*\))?)\)$")
HASH = re.compile(r"::h[0-9a-f]{16}$")
OUR_SYMBOL = re.compile(r"\b(ringway|ring_floor|epoll_floor|httparse)\w*::")


def fold(script):
    """Counts of equal stacks, root first: `{((name, layer), ...): samples}`, from the text of `perf script`."""
    stacks = Counter()
    frames, thread = [], None
    for line in [*script.splitlines(), ""]:
        if not line.strip():
            if thread and frames:
                stacks[((thread, OTHER), *reversed(frames))] += 1
            frames, thread = [], None
        elif not line[0].isspace():
            thread = line.strip().rstrip(":")
        elif found := FRAME.match(line):
            frames.append(frame(found["symbol"], found["object"]))
        elif thread is None:
            # A name of several words is indented to perf's column, unlike a frame's address and object.
            thread = line.strip().rstrip(":")
    return stacks


def frame(symbol, found_in):
    name = HASH.sub("", symbol)
    if found_in.startswith("[kernel") or found_in.startswith("[guest.kernel"):
        return name, KERNEL
    if name == "[unknown]":
        return f"[unknown in {found_in.rsplit('/', 1)[-1]}]", OTHER
    return name, OURS if OUR_SYMBOL.search(name) else OTHER


def demangled(script):
    """The same text with legacy and v0 names made readable, if c++filt is there to do it."""
    try:
        return subprocess.run(["c++filt"], input=script, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return script


class Node:
    """A frame with the samples of itself and of all above it."""

    def __init__(self):
        self.samples = 0
        self.above = {}


def tree(stacks):
    root = Node()
    for frames, samples in stacks.items():
        node = root
        node.samples += samples
        for key in frames:
            node = node.above.setdefault(key, Node())
            node.samples += samples
    return root


def depth_of(node, scale):
    """Levels that are wide enough to be drawn."""
    levels = [depth_of(above, scale) for above in node.above.values() if above.samples * scale >= WIDTH_MIN]
    return 1 + max(levels, default=0)


def svg(stacks, title, lines):
    """The graph of folded stacks; `lines` are shown below the title and say how it was made."""
    root = tree(stacks)
    if root.samples == 0:
        raise ValueError("no samples")
    scale = (WIDTH - 2 * MARGIN) / root.samples
    bottom = HEADER_HEIGHT + depth_of(root, scale) * FRAME_HEIGHT
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom + MARGIN}" '
        'font-family="monospace" font-size="11">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{bottom + MARGIN}" fill="#fbfaf5"/>',
        f'<text x="{MARGIN}" y="20" font-size="15">{escape(title)}</text>',
    ]
    drawn += [
        f'<text x="{MARGIN}" y="{36 + 14 * index}" fill="#555">{escape(line)}</text>' for index, line in enumerate(lines)
    ]
    draw(drawn, root, ("all", OTHER), MARGIN, bottom - FRAME_HEIGHT, scale, root.samples)
    drawn.append("</svg>\n")
    return "\n".join(drawn)


def draw(drawn, node, key, left, top, scale, total):
    """Appends a frame and all above it; equal neighbours stand in alphabetical order, as time has none here."""
    name, colour = key
    width = node.samples * scale
    label = shortened(name, width)
    title = f"{name} ({node.samples:,} samples, {node.samples / total:.2%})"
    drawn.append(
        f'<g><title>{escape(title)}</title>'
        f'<rect x="{left:.1f}" y="{top}" width="{max(width - 0.4, 0.2):.1f}" height="{FRAME_HEIGHT - 1}" fill="{colour}"/>'
        + (f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(label)}</text>' if label else "")
        + "</g>"
    )
    for above_key, above in sorted(node.above.items()):
        if above.samples * scale >= WIDTH_MIN:
            draw(drawn, above, above_key, left, top - FRAME_HEIGHT, scale, total)
        left += above.samples * scale


def shortened(name, width):
    """As much of a name as fits, or nothing."""
    room = int((width - 6) / CHARACTER_WIDTH)
    if room < 3:
        return ""
    return name if len(name) <= room else name[: room - 2] + ".."


def heaviest(stacks, count):
    """The frames with most samples of their own, `[(name, share)]`: what a graph says in a few lines."""
    own = Counter()
    for frames, samples in stacks.items():
        own[frames[-1][0]] += samples
    total = sum(own.values())
    return [(name, samples / total) for name, samples in own.most_common(count)]
