"""The rounds: in each, at every case, the contestants take turns."""

from __future__ import annotations

from collections.abc import Sequence

from plane import processes
from plane.cases import Case, numbers
from plane.contestants import Contestant
from plane.figures import Numbers
from plane.generator import Load, LoadError, release
from plane.say import say


class Rounds:
    """Contestants, what they are measured with, and the numbers so far."""

    def __init__(
        self, load: Load, contestants: Sequence[Contestant], slot: int, warm_up: int, into: Numbers
    ) -> None:
        """Measure in slots of so many milliseconds, after one of `warm_up`."""
        self._load = load
        self._contestants = contestants
        self._slot = slot
        self._warm_up = warm_up
        self._into = into

    def run(self, cases: Sequence[Case], rounds: int) -> None:
        """Measure all, after a round to warm up."""
        for number in range(rounds + 1):
            for case in cases:
                for contestant in turned(entrants(self._contestants, case), number):
                    self._turn(contestant, case, warm=bool(number))
            say(f"round {number} of {rounds} done")

    def _turn(self, contestant: Contestant, case: Case, *, warm: bool) -> None:
        place = (case.name, contestant.name)
        if place in self._into.failures:
            return
        try:
            found = self._one(contestant, case, self._slot if warm else self._warm_up)
        except LoadError as error:
            self._into.failures[place] = str(error)
            say(f"{contestant.name} is left out of {case.name}: {error}")
        else:
            if warm:
                self._into.add(*place, found)

    def _one(self, contestant: Contestant, case: Case, milliseconds: int) -> dict[str, float]:
        if case.mode == "idle":
            return self._hold(contestant, case.connections)
        cpu, machine = processes.cpu(contestant.pids), processes.machine_cpu()
        argv = case.argv(contestant.to, milliseconds)
        found = self._load.run(contestant.client, argv, milliseconds / 1e3)
        cpu, machine = processes.cpu(contestant.pids) - cpu, processes.machine_cpu() - machine
        return numbers(case, found, cpu, machine)

    def _hold(self, contestant: Contestant, connections: int) -> dict[str, float]:
        if not connections:
            return processes.memory(contestant.pids)
        client = self._load.idle(contestant.client, contestant.to, connections)
        try:
            return processes.memory(contestant.pids)
        finally:
            release(client)


def entrants(contestants: Sequence[Contestant], case: Case) -> list[Contestant]:
    """Those that can do it."""
    return [each for each in contestants if each.takes(case)]


def turned(contestants: list[Contestant], by: int) -> list[Contestant]:
    """Another one first in each round, so that none always follows the same."""
    at = by % len(contestants) if contestants else 0
    return contestants[at:] + contestants[:at]
