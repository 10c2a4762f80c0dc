"""Stacks into an SVG: reads `perf script`, folds equal stacks, draws a flame graph.

The graph is one file without scripts or fonts of its own. Width is time on the CPU, the root is at the bottom, and
a frame's title, which a browser shows under the pointer, is its whole name with its samples and share. Colours
tell layers apart: the kernel, this project's crates with httparse, other code; in a differential graph they tell what
has become more and what less. It reads and writes no file.
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
UNKNOWN = "[unknown"
NO_STACK = (f"{UNKNOWN} stack]", OTHER)
UNREADABLE = (f"{UNKNOWN} line of perf]", OTHER)
# A frame whose share of all samples has changed by so much has the deepest colour.
DIFFERENCE_MAX = 0.05

FRAME = re.compile(r"^\s+[0-9a-f]+ (?P<symbol>.+?)(?:\+0x[0-9a-f]+)? \((?P<object>[^()]*(?:\([^()]*\))?)\)$")
HASH = re.compile(r"::h[0-9a-f]{16}$")
OUR_SYMBOL = re.compile(r"\b(ringway|ring_floor|epoll_floor|httparse)\w*::")


def fold(script):
    """Counts of equal stacks, root first: `{((name, layer), ...): samples}`, from the text of `perf script`."""
    stacks = Counter()
    frames, thread = [], None
    for line in [*script.splitlines(), ""]:
        if not line.strip():
            if thread:
                stacks[((thread, OTHER), *reversed(frames or [NO_STACK]))] += 1
            frames, thread = [], None
        elif not line[0].isspace():
            thread = line.strip().rstrip(":")
        elif found := FRAME.match(line):
            frames.append(frame(found["symbol"], found["object"]))
        elif thread is None:
            # A name of several words is indented to perf's column, unlike a frame's address and object.
            thread = line.strip().rstrip(":")
        else:
            frames.append(UNREADABLE)
    return stacks


def frame(symbol, found_in):
    name = HASH.sub("", symbol)
    if found_in.startswith("[kernel") or found_in.startswith("[guest.kernel"):
        return name, KERNEL
    if name == "[unknown]":
        # An address that is in no file is most often one of a kernel that hides its symbols.
        where = "" if found_in == "[unknown]" else f" in {found_in.rsplit('/', 1)[-1]}"
        return f"{UNKNOWN}{where}]", OTHER
    return name, OURS if OUR_SYMBOL.search(name) else OTHER


def demangled(script):
    """The same text with legacy and v0 names made readable, if c++filt is there to do it."""
    try:
        return subprocess.run(["c++filt"], input=script, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return script


class Node:
    """A frame with the samples of itself and of all above it, and with those that it had before."""

    def __init__(self):
        self.samples = 0
        self.before = 0
        self.above = {}


def tree(stacks, before=None):
    root = Node()
    for frames, samples in stacks.items():
        for node in path(root, frames):
            node.samples += samples
    for frames, samples in (before or {}).items():
        for node in path(root, frames):
            node.before += samples
    return root


def path(root, frames):
    """The nodes of a stack, root first, made where they are missing."""
    yield root
    for key in frames:
        root = root.above.setdefault(key, Node())
        yield root


def depth_of(node, scale):
    """Levels that are wide enough to be drawn."""
    levels = [depth_of(above, scale) for above in node.above.values() if above.samples * scale >= WIDTH_MIN]
    return 1 + max(levels, default=0)


def svg(stacks, title, lines, before=None):
    """The graph of folded stacks; `lines` are shown below the title and say how it was made. With the stacks of
    `before`, colours tell how each frame's share has changed since.
    """
    root = tree(stacks, before)
    if root.samples == 0 or (before is not None and root.before == 0):
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
    for index, line in enumerate(lines):
        drawn.append(f'<text x="{MARGIN}" y="{36 + 14 * index}" fill="#555">{escape(line)}</text>')
    Drawing(drawn, root, scale).draw(root, ("all", OTHER), MARGIN, bottom - FRAME_HEIGHT)
    drawn.append("</svg>\n")
    return "\n".join(drawn)


class Drawing:
    """A graph that is being drawn, frame by frame."""

    def __init__(self, drawn, root, scale):
        self.drawn = drawn
        self.scale = scale
        self.root = root

    def draw(self, node, key, left, top):
        """Appends a frame and all above it; equal neighbours stand in alphabetical order, as time has none here."""
        width = node.samples * self.scale
        label = shortened(key[0], width)
        title, colour = self.look(node, key)
        box = f'width="{max(width - 0.4, 0.2):.1f}" height="{FRAME_HEIGHT - 1}"'
        self.drawn.append(
            f"<g><title>{escape(title)}</title>"
            f'<rect x="{left:.1f}" y="{top}" {box} fill="{colour}"/>'
            + (f'<text x="{left + 3:.1f}" y="{top + 12}">{escape(label)}</text>' if label else "")
            + "</g>"
        )
        for above_key, above in sorted(node.above.items()):
            if above.samples * self.scale >= WIDTH_MIN:
                self.draw(above, above_key, left, top - FRAME_HEIGHT)
            left += above.samples * self.scale

    def look(self, node, key):
        """A frame's title and its colour."""
        name, colour = key
        share = node.samples / self.root.samples
        title = f"{name} ({node.samples:,} samples, {share:.2%}"
        if self.root.before == 0:
            return f"{title})", colour
        before = node.before / self.root.before
        return f"{title}, {before:.2%} before)", changed_colour(share - before)


def changed_colour(difference):
    """From white to red where a share has grown, to blue where it has shrunk; the square root shows small ones too."""
    depth = min(abs(difference) / DIFFERENCE_MAX, 1) ** 0.5
    pale = round(250 - 150 * depth)
    return f"#fa{pale:02x}{pale:02x}" if difference > 0 else f"#{pale:02x}{pale:02x}fa"


def shortened(name, width):
    """As much of a name as fits, or nothing."""
    room = int((width - 6) / CHARACTER_WIDTH)
    if room < 3:
        return ""
    return name if len(name) <= room else name[: room - 2] + ".."


def shares(stacks):
    """Each frame's share of the samples that are its own and not those of a frame above it."""
    own = Counter()
    for frames, samples in stacks.items():
        own[frames[-1][0]] += samples
    total = sum(own.values())
    return {name: samples / total for name, samples in own.items()}


def heaviest(stacks, count):
    """The frames with most samples of their own, `[(name, share)]`: what a graph says in a few lines."""
    return sorted(shares(stacks).items(), key=lambda item: -item[1])[:count]


def differences(before, after, count):
    """The frames whose own share has changed most, `[(name, before, after)]`."""
    old, new = shares(before), shares(after)
    changes = [(name, old.get(name, 0.0), new.get(name, 0.0)) for name in {*old, *new}]
    return sorted(changes, key=lambda change: (-abs(change[2] - change[1]), change[0]))[:count]


def unknown(stacks):
    """The share of samples with a frame in them that has no name, and such frames by their samples."""
    found, samples_unknown = Counter(), 0
    for frames, samples in stacks.items():
        nameless = {name for name, _ in frames if name.startswith(UNKNOWN)}
        samples_unknown += samples if nameless else 0
        for name in nameless:
            found[name] += samples
    return samples_unknown / max(sum(stacks.values()), 1), found
