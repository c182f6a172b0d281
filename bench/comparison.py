"""What moved beyond noise between two runs of a benchmark; no file and no clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import hypot
from statistics import median

from results import Figure, Results

LEAST = 0.05
"""What moves by less than this part of its median has not moved, however little its rounds differ."""
NORMAL = 1.4826
"""Makes a median absolute deviation comparable with a standard deviation, for normally distributed values."""


class Verdict(IntEnum):
    """What became of a figure, in the order in which one wants to know."""

    WORSE = 0
    BETTER = 1
    GONE = 2
    NEW = 3
    STEADY = 4
    ELSEWHERE = 5
    """Not compared: an absolute figure of another machine."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One figure of either run, or of both."""

    benchmark: str
    old: Figure | None
    new: Figure | None
    verdict: Verdict

    @property
    def figure(self) -> Figure:
        """The newer one that there is."""
        present = self.new or self.old
        assert present is not None
        return present

    @property
    def change(self) -> float | None:
        """Part of the old median by which the new one is more; None where there is no such part."""
        if self.old is None or self.new is None or not self.old.median:
            return None
        return self.new.median / self.old.median - 1


def deviation(values: Sequence[float]) -> float:
    """How far rounds lie from their median, one outlier more or less; 0 of a single one."""
    middle = median(values)
    return NORMAL * median(abs(each - middle) for each in values)


def apart(old: Sequence[float], new: Sequence[float]) -> bool:
    """Whether each round of one is above each of the other."""
    return max(old) < min(new) or max(new) < min(old)


def threshold(old: Figure, new: Figure) -> float:
    """By how much medians must differ: the deviations together, and a part of the old one.

    A single round says nothing of its own noise, so that the part is doubled.
    """
    part = LEAST * (2 if min(len(old.values), len(new.values)) == 1 else 1)
    return max(hypot(deviation(old.values), deviation(new.values)), part * abs(old.median))


def judge(old: Figure, new: Figure) -> Verdict:
    """Whether a figure moved. Simulated with 5 rounds of equal distribution, under 1 % were said to have moved."""
    difference = new.median - old.median
    if new.better == "neither":
        return Verdict.STEADY
    if abs(difference) <= threshold(old, new) or not apart(old.values, new.values):
        return Verdict.STEADY
    return Verdict.BETTER if (difference > 0) == (new.better == "higher") else Verdict.WORSE


def compare(old: Results, new: Results) -> list[Finding]:
    """All figures of two runs of the same benchmark: ratios and counts first, and among them the worst."""
    before = {each.name: each for each in old.figures}
    after = {each.name: each for each in new.figures}
    same_machine = old.machine == new.machine
    findings = [
        _find(new.benchmark, before.get(name), after.get(name), same_machine) for name in {**before, **after}
    ]
    return sorted(findings, key=lambda found: (not found.figure.portable, found.verdict))


def _find(benchmark: str, old: Figure | None, new: Figure | None, same_machine: bool) -> Finding:
    if old is None or new is None:
        verdict = Verdict.NEW if old is None else Verdict.GONE
    elif not (same_machine or (old.portable and new.portable)):
        verdict = Verdict.ELSEWHERE
    else:
        verdict = judge(old, new)
    return Finding(benchmark, old, new, verdict)
