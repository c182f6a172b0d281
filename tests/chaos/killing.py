"""An agent is killed again and again while clients ask, and has to be right each time."""

from __future__ import annotations

import random
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents import until
from agreement import STATES, assert_same, expected_listeners, expected_tree, tree_of
from chaos.crash_points import END, START, STEPS, points
from chaos.load import CLIENTS, Load, Worker
from chaos.told import require
from chaos.victim import Victim, check_kernel
from lab import Lab
from moorage import Client
from moorage.rpc.wire import interface_from_wire, interface_to_wire

MOMENT = 0.15
"""Seconds of load within which a kill at a random moment comes."""
REACH = 0.6
"""Seconds of load within which a point is reached or the kill comes anyway."""
SETTLED = 5.0
"""Seconds within which all has to agree after the last answer."""
THREADS = 8
"""Threads that a busy agent may keep in reserve: those of asyncio's executor (`min(32, cores + 4)`)."""


@dataclass
class Account:
    """What a run did."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    answered: int = 0
    repeated: int = 0
    slowest: float = 0.0
    ready: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        ways = ", ".join(f"{how} {number}" for how, number in sorted(self.kills.items()))
        return (
            f"seed {self.seed}: {self.kills.total()} kills ({ways}), {self.checks} checks, "
            f"{self.answered} answers, {self.repeated} repeats, slowest answer {self.slowest:.2f} s, "
            f"ready again in {max(self.ready, default=0):.2f} s at most"
        )


class Killing:
    """One run. Everything is drawn from the seed but the exact moments."""

    def __init__(self, directory: Path, seed: int, lab: Lab | None = None) -> None:
        """Make the agent and its clients; `lab` gives it a real kernel."""
        self.account = Account(seed)
        self._random = random.Random(seed)
        self._victim = Victim(directory, lab)
        self._spare = None if lab is None else lab.container("spare")
        places = [[] if lab is None else [lab.container(f"{n}-{k}") for k in "ab"] for n in range(CLIENTS)]
        self._clients = [Client(self._victim.socket, pauses=()) for _ in range(CLIENTS)]
        self._workers = [Worker(n, seed, self._clients[n], places[n]) for n in range(CLIENTS)]

    def run(self, enough: Callable[[Account], bool]) -> Account:
        """Kill until it is enough. Raises AssertionError at the first thing that is wrong."""
        with self._victim as victim:
            fresh = self._warm(victim)
            with Load(self._workers) as load:
                while not enough(self.account):
                    self._kill(load)
                    self._recover(load)
            self._leave(*fresh)
        return self.account

    def _warm(self, victim: Victim) -> tuple[Counter[str], int]:
        """The descriptors and threads that it has when it has nothing to do, and has done everything once."""
        victim.client.allocate("first", ports=["80", "80/udp"], netns=self._spare)
        victim.client.release("first")
        victim.client._drop_idle()
        return victim.descriptors(), victim.threads()

    def _kill(self, load: Load) -> None:
        """Let it die at a random moment, at a step of an operation, or at one of its end."""
        how = self._random.choices(("moment", "step", "end"), (4, 5, 1))[0]
        victim, patience = self._victim, self._random.uniform(0, MOMENT)
        if how == "step":
            victim.order(self._random.choice(points(STEPS)), self._random.randint(1, 12))
            patience = REACH
        load.go()
        dead = victim.dies(patience)
        if how == "end":
            victim.order(self._random.choice(points(END)), 1)
        status = victim.terminate() if how == "end" else victim.kill()
        require(status in {0, -signal.SIGKILL}, f"the agent ended by itself with {status}")
        self.account.kills[how if dead or how != "step" else "moment"] += 1

    def _recover(self, load: Load) -> None:
        """Start it, perhaps after a start that is killed too, and check."""
        while self._random.random() < 0.15:
            if self._victim.start_dying(self._random.choice(points(START))):
                self.account.kills["start"] += 1
            else:
                self._victim.kill()
        self._victim.start()
        self.account.ready.append(self._victim.took)
        load.pause()
        self._check(load)

    def _check(self, load: Load) -> None:
        eventually(lambda: self._agree(load))
        account = self.account
        account.checks += 1
        account.answered, account.repeated, account.slowest = load.answered, load.repeated, load.slowest

    def _agree(self, load: Load) -> None:
        victim, told = self._victim, load.told
        journal = victim.recorded()
        interfaces = journal.interfaces
        by_id = {each.id: interface_from_wire(interface_to_wire(each)) for each in interfaces}
        wrong = {id for id in told.keys() & by_id.keys() if told[id] != by_id[id]}
        assert_same("what clients were told", set(told), set(by_id))
        require(not wrong, f"told {[told[id] for id in wrong]}, recorded {[by_id[id] for id in wrong]}")
        agent = victim.client
        require(agent.list() == list(by_id.values()), "the list is not as recorded")
        assert_same("tree", tree_of(agent), expected_tree(agent, interfaces))
        check_kernel(victim, journal)
        assert_same("listeners", listeners_of(victim.pid), expected_listeners(interfaces))

    def _leave(self, descriptors: Counter[str], threads: int) -> None:
        """Release all: what is left has to be what a fresh agent has."""
        for id in [each.id for each in self._victim.client.list()]:
            self._victim.client.release(id)
        for client in (*self._clients, self._victim.client):
            client._drop_idle()
        eventually(lambda: self._none_left(descriptors))
        left = self._victim.threads()
        require(left <= threads + THREADS, f"{left} threads after all, {threads} before")

    def _none_left(self, before: Counter[str]) -> None:
        more = self._victim.descriptors() - before
        require(not more, f"descriptors left open: {dict(more)}")


def eventually(check: Callable[[], None]) -> None:
    """Wait until `check` raises nothing; raises what it raises at last."""
    last: list[AssertionError] = []

    def holds() -> bool:
        try:
            check()
        except AssertionError as error:
            last[:] = [error]
            return False
        return True

    try:
        until(holds, SETTLED)
    except AssertionError:
        raise last[0] from None


def listeners_of(pid: int) -> set[tuple[str, int]]:
    """The tcp and udp ports that sockets of that process's network namespace wait at."""
    found = set()
    for proto, states in STATES.items():
        for family in ("", "6"):
            lines = Path(f"/proc/{pid}/net/{proto}{family}").read_text().splitlines()[1:]
            for _, local, _, state, *_ in map(str.split, lines):
                if state in states:
                    found.add((proto, int(local.rpartition(":")[2], 16)))
    return found
