"""The actors of an agent die one after the other while clients ask, and nobody else may notice."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agents import until
from agreement import actor, assert_agreement
from chaos.hanging import Hang
from chaos.killing import eventually
from chaos.load import CLIENTS, PORT_RANGE, Load, Worker
from chaos.told import require
from moorage import Agent, Config, Refused
from moorage.control.context import Event
from moorage.control.operation import Look
from moorage.control.proxy import Disconnect
from moorage.supervision.directory import Address
from moorage.supervision.messages import Tick
from moorage.supervision.policy import Intensity, RestartCounter

SUPERVISORS = ("allocators", "proxies", "interfaces")
FIXED = (
    *("journal", "allocators", "ip:default", "tcp-ports", "udp-ports", "sctp-ports"),
    *("port-mapper", "links", "proxies", "interfaces", "gateway"),
)
ROLES = (*FIXED, "proxy", "interface")
FATAL = frozenset({"journal"})
"""Who cannot hang for long: its thread keeps the lock of the state, and only a new process gets it."""

LULL = 0.03
"""Seconds of load within which the next one dies."""
REPLACED = 20.0
"""Seconds within which another is in its place."""
THREADS = 8
"""Threads that a busy agent may keep in reserve: those of asyncio's executor."""


@dataclass
class Deaths:
    """What a run did."""

    seed: int
    crashes: Counter[str] = field(default_factory=Counter)
    hangs: Counter[str] = field(default_factory=Counter)
    checks: int = 0
    answered: int = 0
    repeated: int = 0
    slowest: float = 0.0
    last: str = "nobody died"

    @property
    def total(self) -> int:
        """How many died."""
        return self.crashes.total() + self.hangs.total()

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.crashes.total()} crashes {dict(self.crashes)}, "
            f"{self.hangs.total()} hangs {dict(self.hangs)}, {self.checks} checks, {self.answered} answers, "
            f"{self.repeated} repeats, slowest answer {self.slowest:.2f} s, last: {self.last}"
        )


class Dying:
    """One run. Everything is drawn from the seed but the exact moments."""

    def __init__(self, directory: Path, seed: int) -> None:
        """Make the agent and its clients, in this process."""
        self.account = Deaths(seed)
        self._random = random.Random(seed)
        config = {"subnet": "10.0.42.1/24", "port_range": PORT_RANGE, "chaos": True}
        self._agent = Agent(Config(kernel="memory", state=directory / "state", **config))  # type: ignore[arg-type]  # each its own
        self._workers = [Worker(n, seed, self._agent) for n in range(CLIENTS)]

    def run(self, enough: Callable[[Deaths], bool]) -> Deaths:
        """Let them die until it is enough. Raises AssertionError at the first thing that is wrong."""
        with self._agent:
            self._agent.allocate("first", ports=["80", "80/udp"])
            self._agent.release("first")
            threads = threading.active_count()
            with Load(self._workers) as load:
                while not enough(self.account):
                    for role in ROLES:
                        self._round(load, role)
            self._leave(threads)
        return self.account

    def _round(self, load: Load, role: str) -> None:
        self._forgive()
        load.go()
        threading.Event().wait(self._random.uniform(0, LULL))
        hangs = role not in FATAL and self._random.random() < 0.4
        name = self._name(role)
        if name is not None:
            before, self.account.last = self._restarts(), f"{name} {'hangs' if hangs else 'crashes'}"
            self._hang(name) if hangs else self._crash(name)
        load.pause()
        eventually(lambda: self._agree(load))
        if name is not None:
            self._others_undisturbed(name, before)
        self._note(load)

    def _name(self, role: str) -> str | None:
        """An actor of that role, if there is one now."""
        names = [each.name for each in self._agent.tree() if each.name.partition(":")[0] == role]
        return role if role in FIXED else self._random.choice(names) if names else None

    def _crash(self, name: str) -> None:
        urn = self._urn(name)
        try:
            self._agent.crash(name)
        except Refused:
            return  # it has just been released
        self.account.crashes[name.partition(":")[0]] += 1
        until(lambda: self._urn(name) != urn, REPLACED)

    def _hang(self, name: str) -> None:
        try:
            hang = Hang(self._agent, name)
        except AssertionError:
            return  # it has just been released
        try:
            self._poke(name)
            until(lambda: hang.reached.is_set() or self._urn(name) != hang.urn, REPLACED)
            until(lambda: hang.hurry() or self._urn(name) != hang.urn, REPLACED)
            self.account.hangs[name.partition(":")[0]] += 1
            threading.Event().wait(LULL)  # of load, with another in its place
        finally:
            hang.let_go()

    def _poke(self, name: str) -> None:
        """Give it something to do that changes nothing."""
        role = name.partition(":")[0]
        deeds = {"proxy": Disconnect(), "interface": Look(), "gateway": Event("nothing", {}, "")}
        self._address(name).tell(deeds.get(role, Tick() if role in SUPERVISORS else None))

    # -- what has to be so

    def _agree(self, load: Load) -> None:
        require(not self._agent.ended.is_set(), f"the agent gave up: {self._agent.reason!r}")
        states = {each.name: each.state for each in self._agent.tree() if each.state != "running"}
        require(not states, f"not running: {states}")
        assert_agreement(self._agent)
        present = {each.id: each for each in self._agent.list()}
        require(load.told == present, f"told {load.told}, there are {present}")

    def _others_undisturbed(self, name: str, before: dict[str, int]) -> None:
        after = self._restarts()
        below = {each.name for each in self._agent.tree() if each.parent == name}
        others = {each for each in FIXED if each != name and each not in below}
        disturbed = {each for each in others if after.get(each) != before.get(each)}
        require(not disturbed, f"{disturbed} restarted when {name} died")

    def _leave(self, threads: int) -> None:
        for each in self._agent.list():
            self._agent.release(each.id)
        eventually(lambda: self._all_gone(threads))

    def _all_gone(self, threads: int) -> None:
        assert_agreement(self._agent)
        left = threading.active_count()
        require(left <= threads + THREADS, f"{left} threads after all, {threads} before")

    # -- looking

    def _restarts(self) -> dict[str, int]:
        return {each.name: each.restarts for each in self._agent.tree()}

    def _urn(self, name: str) -> str | None:
        """The incarnation that is ready under that name."""
        assert self._agent._context is not None
        ref = self._agent._context.directory.find(name)
        return None if ref is None else ref.actor_urn

    def _address(self, name: str) -> Address:
        assert self._agent._context is not None
        return Address(self._agent._context.directory, name)

    def _forgive(self) -> None:
        """Let supervisors forget restarts: more die here in a second than they would stand."""
        for name in ("root", *SUPERVISORS):
            actor(self._agent, name)._restarts = RestartCounter(Intensity(1000, 1.0))

    def _note(self, load: Load) -> None:
        account = self.account
        account.checks += 1
        account.answered, account.repeated, account.slowest = load.answered, load.repeated, load.slowest
