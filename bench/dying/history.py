"""One history of deaths, the same for every contestant: kills at drawn moments, containers that end without a word."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

from rooms import Container

import peers
from dying.contestants import Contestant
from dying.footprint import NOTHING, Footprint

PAUSE = 0.1
"""Seconds between two looks."""
SETTLED = 5.0
"""Seconds in which a killed agent's successor has completed or undone what was under way."""


@dataclass
class Account:
    """What became of it."""

    killed: int = 0
    """Kills that came before the answer."""
    half_done: int = 0
    """Containers that were neither connected nor not, after the kill, and a new start where there is one."""
    left: Footprint = NOTHING
    """When all containers had ended, and their grace was over."""
    settled: float = 0.0
    """Seconds until no more of them was left, or the grace."""
    refused: int = 0
    """Requests to take back a container that has ended that failed."""
    left_after_all: Footprint = NOTHING
    """When the caller had come back and taken back every container by its name."""


@dataclass
class History:
    """A run of one contestant."""

    contestant: Contestant
    each: int
    """Containers of each of the three fates."""
    seed: int
    account: Account = field(default_factory=Account)

    def run(self) -> Account:
        """Connect and kill, end the containers, look, take back, look again."""
        moments = random.Random(self.seed)
        base, whole, took = self._baseline()
        held: list[Container] = []
        for number in range(self.each):
            moment = moments.random() * took[0]
            held.append(self._killed_connecting(number, moment, whole))
        for number in range(self.each, 2 * self.each):
            moment = moments.random() * took[1]
            held.append(self._killed_taking_back(number, moment, whole))
        for number in range(2 * self.each, 3 * self.each):
            held.append(self._container(number))
            self.contestant.connect(held[-1], number + 1)
        self._end(held, base)
        return self.account

    def _baseline(self) -> tuple[Footprint, Footprint, tuple[float, float]]:
        """What an empty host has, what a container adds, and the seconds that either way takes."""
        self._there_and_back("first")
        base = self.contestant.footprint()
        runs = [self._there_and_back(f"warm-{number}") for number in range(3)]
        return base, runs[-1][0] - base, (median(run[1] for run in runs), median(run[2] for run in runs))

    def _there_and_back(self, name: str) -> tuple[Footprint, float, float]:
        container = Container(f"{self.contestant.name}-{name}")
        up = self.contestant.connect(container, 0)
        connected = self.contestant.footprint()
        down = self.contestant.take_back(container, 0)
        container.remove()
        assert up is not None
        assert down is not None
        return connected, up, down

    def _container(self, number: int) -> Container:
        return Container(f"{self.contestant.name}-{number}")

    def _killed_connecting(self, number: int, moment: float, whole: Footprint) -> Container:
        container, before = self._container(number), self.contestant.footprint()
        self.account.killed += self.contestant.connect(container, number + 1, moment) is None
        self._judge(before, whole)
        return container

    def _killed_taking_back(self, number: int, moment: float, whole: Footprint) -> Container:
        container, before = self._container(number), self.contestant.footprint()
        self.contestant.connect(container, number + 1)
        self.account.killed += self.contestant.take_back(container, number + 1, moment) is None
        self._judge(before, whole)
        return container

    def _judge(self, before: Footprint, whole: Footprint) -> None:
        """Count a container that is neither there nor not."""

        def clear() -> bool:
            return self.contestant.footprint() - before in {NOTHING, whole}

        self.account.half_done += not self._within(SETTLED, clear)

    def _end(self, held: Sequence[Container], base: Footprint) -> None:
        for container in held:
            container.remove()
        began = time.monotonic()
        self._within(self.contestant.grace, lambda: self.contestant.footprint() == base)
        self.account.settled = time.monotonic() - began
        self.account.left = self.contestant.footprint() - base
        self._take_back_all(held)
        self.account.left_after_all = self.contestant.footprint() - base

    def _take_back_all(self, held: Sequence[Container]) -> None:
        for number, container in enumerate(held):
            try:
                self.contestant.take_back(container, number + 1)
            except peers.Failed:
                self.account.refused += 1

    def _within(self, seconds: float, holds: Callable[[], bool]) -> bool:
        """Whether it comes to hold; a contestant without a process of its own is looked at once and at the end."""
        until = time.monotonic() + min(seconds, self.contestant.grace)
        while not holds():
            if time.monotonic() > until:
                return False
            time.sleep(PAUSE)
        return True
