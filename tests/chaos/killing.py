"""An agent is killed again and again while clients ask, and has to be right each time."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from chaos.account import MOMENT, Account
from chaos.agreeing import agree, eventually
from chaos.crash_points import END, HANG, START, STEPS, points
from chaos.flows import Passers
from chaos.footprint import Footprint
from chaos.load import CLIENTS, Load
from chaos.told import require
from chaos.turns import Turns
from chaos.victim import Victim
from chaos.worker import Worker
from lab import Lab
from moorage import Client

LULL = 0.15
"""Seconds of load within which a kill at a random moment comes."""
REACH = 0.6
"""Seconds of load within which a point is reached or the kill comes anyway."""
GIVEN_UP = 20.0
"""Seconds within which an agent has ended whose journal hangs."""
WAYS = (*["moment"] * 4, *["step"] * 5, "end", "hang")
"""How it ends, each as often as it stands here."""


class Killing:
    """One run. Everything is drawn from the seed but the exact moments."""

    def __init__(self, directory: Path, seed: int, lab: Lab | None = None) -> None:
        """Make the agent and its clients; `lab` gives it a real kernel."""
        self.account = Account(seed)
        self._random = random.Random(f"{seed} on {'a file' if lab is None else 'linux'}")
        self._steps, self._starts, self._ends = (
            Turns(self._random, points(each)) for each in (STEPS, START, END)
        )
        self._ways = Turns(self._random, WAYS)
        self._victim = Victim(directory, lab)
        self._spare = None if lab is None else lab.container("spare")
        places = [[] if lab is None else [lab.container(f"{n}-{k}") for k in "ab"] for n in range(CLIENTS)]
        self._clients = [Client(self._victim.socket, pauses=()) for _ in range(CLIENTS)]
        self._workers = [Worker(n, seed, self._clients[n], places[n]) for n in range(CLIENTS)]

    def run(self, enough: Callable[[Account], bool]) -> Account:
        """Kill until it is enough. Raises AssertionError at the first thing that is wrong."""
        with self._victim as victim:
            self._fresh = self._warm(victim)
            with Load(self._workers) as load, self._passers():
                while not enough(self.account):
                    self._kill(load)
                    self._recover(load)
            self._leave()
        return self.account

    def _passers(self) -> AbstractContextManager[object]:
        return nullcontext() if self._victim.kept is not None else Passers(self._victim.lab)

    def _warm(self, victim: Victim) -> Footprint:
        """What it takes when it has nothing to do, and has done everything once."""
        victim.client.allocate("first", ports=["80", "80/udp"], netns=self._spare)
        victim.client.release("first")
        victim.client._drop_idle()
        return Footprint.of(victim)

    def _kill(self, load: Load) -> None:
        """Let it die at a random moment, at a step of an operation, at one of its end, or of its journal."""
        how = self._ways.next()
        self.account.last = how
        {
            "moment": self._at_a_moment,
            "step": self._at_a_step,
            "end": self._at_an_end,
            "hang": self._of_a_hang,
        }[how](load)

    def _at_a_moment(self, load: Load) -> None:
        load.go()
        self._victim.dies(self._random.uniform(0, LULL))
        self._count(MOMENT, self._victim.kill())

    def _at_a_step(self, load: Load) -> None:
        step = self._steps.next()
        self._victim.order(step, self._random.randint(1, 12))
        load.go()
        dead = self._victim.dies(REACH)
        self._count(step if dead else MOMENT, self._victim.kill())

    def _at_an_end(self, load: Load) -> None:
        load.go()
        self._victim.dies(self._random.uniform(0, LULL))
        step = self._ends.next()
        self._victim.order(step, 1)
        self._count(step, self._victim.terminate())

    def _of_a_hang(self, load: Load) -> None:
        """Let the journal hang: its thread keeps the lock of the state, which only a new process gets."""
        self._victim.order(f"{HANG}/before", self._random.randint(1, 12), "hang")
        load.go()
        require(self._victim.dies(GIVEN_UP), f"the agent whose journal hangs goes on after {GIVEN_UP} s")
        status = self._victim.kill()
        require(status == 1, f"the agent whose journal hung ended with {status}")
        self.account.hangs["journal"] += 1

    def _count(self, step: str, status: int) -> None:
        """Count a kill; one that comes at no step of the end is none, and the agent stopped as it should."""
        require(status in {0, -signal.SIGKILL}, f"the agent ended by itself with {status}")
        self.account.kills[step] += status != 0

    def _recover(self, load: Load) -> None:
        """Start it, perhaps after a start that is killed too, and check."""
        while self._random.random() < 0.15:
            step = self._starts.next()
            if self._victim.start_dying(step):
                self.account.kills[step] += 1
            else:
                self._victim.kill()
        self._victim.start()
        self.account.ready = max(self.account.ready, self._victim.took)
        load.pause()
        self._check(load)

    def _check(self, load: Load) -> None:
        eventually(lambda: agree(self._victim, load.told, self._fresh))
        account = self.account
        account.checks += 1
        account.answered, account.repeated, account.slowest = load.answered, load.repeated, load.slowest

    def _leave(self) -> None:
        """Release all: nothing is left of it, and no more taken than by a fresh agent."""
        for id in [each.id for each in self._victim.client.list()]:
            self._victim.client.release(id)
        for client in (*self._clients, self._victim.client):
            client._drop_idle()
        eventually(self._none_left)

    def _none_left(self) -> None:
        agree(self._victim, {}, self._fresh)
        self._victim.client._drop_idle()
        more = self._victim.descriptors()["socket:"] - self._fresh.descriptors["socket:"]
        require(more <= 0, f"{more} sockets left open")
