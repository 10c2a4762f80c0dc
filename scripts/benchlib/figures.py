"""Ratios, medians, quartiles and the table. This module performs no I/O."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Spread:
    """A median and its quartiles."""

    median: float
    lower: float
    upper: float

    @property
    def straddles_one(self):
        """Quartiles on both sides of 1: a difference that is none."""
        return self.lower <= 1.0 <= self.upper

    def __str__(self):
        return f"{self.median:.3f} [{self.lower:.3f} {self.upper:.3f}]"


def spread(values):
    if len(values) == 1:
        return Spread(values[0], values[0], values[0])
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(median, lower, upper)


def paired(rounds, base_rounds):
    """The ratio to the base within each round; a round that either of them missed has none."""
    return [rounds[number] / base_rounds[number] for number in rounds if number in base_rounds]


def joined(windows):
    """What a request took over several windows, `(cpu_us, requests)` each: they are weighed by their requests."""
    requests = sum(count for _, count in windows)
    return sum(cpu_us * count for cpu_us, count in windows) / requests


def paired_windows(rounds, base_rounds):
    """The ratio to the base within each round, `{round: {turn: (cpu_us, requests)}}`, over the turns in which both were
    measured. Where a window of one was dropped its partner does not count either, for the machine's pace was another
    in each turn.
    """
    ratios = []
    for number, turns in rounds.items():
        base_turns = base_rounds.get(number, {})
        shared = [turn for turn in turns if turn in base_turns]
        if shared:
            ratios.append(joined([turns[turn] for turn in shared]) / joined([base_turns[turn] for turn in shared]))
    return ratios


def at_most(ratio, bound):
    """Whether a bound is met: by the median, or by the lower quartile with 2 % to spare."""
    return ratio.median <= bound or ratio.lower <= bound * 0.98


def at_least(ratio, bound):
    """The same from the other side."""
    return ratio.median >= bound or ratio.upper >= bound * 1.02


def table(rows, columns):
    """Lines of aligned columns; the first two are words and stand left, the others right."""
    cells = [list(columns), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[index]) for row in cells) for index in range(len(columns))]
    lines = []
    for row in cells:
        aligned = [cell.ljust(width) if index < 2 else cell.rjust(width) for index, (cell, width) in enumerate(zip(row, widths))]
        lines.append("  ".join(aligned).rstrip())
    lines.insert(1, "-" * max(len(line) for line in lines))
    return "\n".join(lines)
