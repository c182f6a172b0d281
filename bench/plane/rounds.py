"""The rounds: in each, at every case, the contestants take turns."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from plane import processes
from plane.cases import Case, figures
from plane.contestants import Contestant
from plane.generator import Load, LoadError
from plane.say import say

WARM_UP = 100
"""Milliseconds."""


@dataclass
class Results:
    """Numbers by case, contestant and figure, one for each round; and what went wrong."""

    values: dict[tuple[str, str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, case: str, contestant: str, found: dict[str, float]) -> None:
        """Take in one run."""
        for name, value in found.items():
            self.values[case, contestant, name].append(value)


def run(
    load: Load, contestants: Sequence[Contestant], cases: Sequence[Case], rounds: int, slot: int
) -> Results:
    """Measure all, in slots of so many milliseconds, after a round to warm up."""
    results = Results()
    for number in range(rounds + 1):
        for case in cases:
            for contestant in turned(entrants(contestants, case), number):
                if (case.name, contestant.name) in results.failures:
                    continue
                try:
                    found = one(load, contestant, case, slot if number else WARM_UP)
                except LoadError as error:
                    results.failures[case.name, contestant.name] = str(error)
                    say(f"{contestant.name}, {case.name}: {error}")
                    continue
                if number:
                    results.add(case.name, contestant.name, found)
        say(f"round {number} of {rounds} done")
    return results


def entrants(contestants: Sequence[Contestant], case: Case) -> list[Contestant]:
    """Those that can do it."""
    return [each for each in contestants if case.group in {"all", each.group} and (each.udp or not case.udp)]


def turned(contestants: list[Contestant], by: int) -> list[Contestant]:
    """Another one first in each round, so that none always follows the same."""
    at = by % len(contestants) if contestants else 0
    return contestants[at:] + contestants[:at]


def one(load: Load, contestant: Contestant, case: Case, milliseconds: int) -> dict[str, float]:
    """One run. Raises LoadError."""
    cpu, machine = processes.cpu(contestant.pids), processes.machine_cpu()
    found = load.run(contestant.client, case.argv(contestant.to, milliseconds), milliseconds / 1e3)
    cpu = processes.cpu(contestant.pids) - cpu
    return figures(case, found, cpu, processes.machine_cpu() - machine)
