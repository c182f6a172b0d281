"""The actors of an agent die one after the other while clients ask, and nobody else may notice."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from pathlib import Path

from agents import until
from agreement import assert_agreement
from chaos.account import Account
from chaos.agreeing import eventually
from chaos.escalating import SUPERVISORS, escalate, forgive
from chaos.hanging import Hang
from chaos.load import CLIENTS, Load
from chaos.told import require
from chaos.worker import PORT_RANGE, Worker
from moorage import Agent, Config, Refused
from moorage.control.context import Event
from moorage.control.operation import Look
from moorage.control.proxy import Disconnect
from moorage.supervision.directory import Address
from moorage.supervision.messages import Tick

FIXED = (
    *("journal", "allocators", "ip:default", "tcp-ports", "udp-ports", "sctp-ports"),
    *("port-mapper", "links", "proxies", "interfaces", "gateway"),
)
ROLES = (*FIXED, "proxy", "interface")
CRASHES = [(role, False) for role in ROLES]
HANGS = [(role, True) for role in ROLES if role != "journal"]
"""A journal that hangs keeps the lock of the state, and ends the process: `killing` has it do so."""
LISTENING = frozenset({"gateway", "proxy"})
"""Who holds sockets that only its end gives back: cancelled, it ends, and never wakes up."""

LULL = 0.03
"""Seconds of load within which the next one dies."""
REPLACED = 20.0
"""Seconds within which another is in its place."""
THREADS = 8
"""Threads that a busy agent may keep in reserve: those of asyncio's executor."""


class Dying:
    """One run. Everything is drawn from the seed but the exact moments."""

    def __init__(self, directory: Path, seed: int) -> None:
        """Make the agent and its clients, in this process."""
        self.account = Account(seed)
        self._random = random.Random(seed)
        self._last = ("", False)
        config = {"subnet": "10.0.42.1/24", "port_range": PORT_RANGE, "chaos": True}
        self._agent = Agent(Config(kernel="memory", state=directory / "state", **config))  # type: ignore[arg-type]  # each its own
        self._workers = [Worker(n, seed, self._agent) for n in range(CLIENTS)]

    def run(self, enough: Callable[[Account], bool]) -> Account:
        """Let them die until it is enough. Raises AssertionError at the first thing that is wrong."""
        with self._agent:
            self._agent.allocate("first", ports=["80", "80/udp"])
            self._agent.release("first")
            threads = threading.active_count()
            with Load(self._workers) as load:
                while not enough(self.account):
                    self._round(load, *self._next())
                self._escalate(load)
            self._leave(threads)
        return self.account

    def _next(self) -> tuple[str, bool]:
        """A role that died least so far, and whether it is to hang; not twice the same."""
        done = self.account.crashes, self.account.hangs
        left = [each for each in (*CRASHES, *HANGS) if each != self._last]
        least = min(done[hangs][role] for role, hangs in left)
        self._last = self._random.choice([each for each in left if done[each[1]][each[0]] == least])
        return self._last

    def _round(self, load: Load, role: str, hangs: bool) -> None:
        forgive(self._agent)
        load.go()
        threading.Event().wait(self._random.uniform(0, LULL))
        name, before = self._name(role), self._restarts()
        if name is not None:
            self.account.last = f"{name} {'hangs' if hangs else 'crashes'}"
            self._hang(name) if hangs else self._crash(name)
        self._check(load)
        if name is not None:
            self._others_undisturbed(name, before)

    def _escalate(self, load: Load) -> None:
        """Once more than is allowed: whoever supervises gives up, the root at last."""
        for supervisor in (*SUPERVISORS, "root"):
            self.account.last = f"{supervisor} gives up"
            load.go()
            escalate(self._agent, supervisor)
            self.account.escalations[supervisor] += 1
            self._check(load)

    def _check(self, load: Load) -> None:
        self._goes_on()
        load.pause()
        eventually(lambda: self._agree(load))
        account = self.account
        account.checks += 1
        account.answered, account.repeated, account.slowest = load.answered, load.repeated, load.slowest

    def _name(self, role: str) -> str | None:
        """An actor of that role, if there is one now."""
        names = [each.name for each in self._agent.tree() if _role(each.name) == role]
        return role if role in FIXED else self._random.choice(names) if names else None

    def _crash(self, name: str) -> None:
        urn = self._urn(name)
        try:
            self._agent.crash(name)
        except Refused:
            return  # it has just been released
        self.account.crashes[_role(name)] += 1
        until(lambda: self._urn(name) != urn, REPLACED)

    def _hang(self, name: str) -> None:
        try:
            hang = Hang(self._agent, name, stubborn=_role(name) not in LISTENING)
        except AssertionError:
            return  # it has just been released
        poke = self._deed(name)
        try:
            hang.reached.wait(LULL)  # perhaps in a client's request
            self._address(name).tell(poke)
            until(lambda: hang.reached.is_set() or self._urn(name) != hang.urn, REPLACED)
            until(lambda: hang.hurry() or self._urn(name) != hang.urn, REPLACED)
            threading.Event().wait(LULL)  # of load, with another in its place
        finally:
            hang.let_go()
        if hang.reached.is_set():
            self.account.hangs[_role(name)] += 1
            self._wake(hang, poke)

    def _wake(self, hang: Hang, poke: object) -> None:
        """It goes on where it hung, and changes nothing, as is checked next."""
        require(hang.ended.wait(REPLACED), f"{self.account.last} in {hang.message} for ever")
        messages = hang.message if isinstance(hang.message, list) else [hang.message]
        self.account.woken += hang.woke
        self.account.held += hang.woke and not all(
            each is poke or isinstance(each, Tick) for each in messages
        )

    def _deed(self, name: str) -> object:
        """Something to do that changes nothing."""
        deeds = {"proxy": Disconnect(), "interface": Look(), "gateway": Event("nothing", {}, "")}
        role = _role(name)
        return deeds.get(role, Tick() if role in SUPERVISORS else None)

    # -- what has to be so

    def _goes_on(self) -> None:
        text = f"the agent gave up after {self.account.last}: {self._agent.reason!r}"
        require(not self._agent.ended.is_set(), text)

    def _agree(self, load: Load) -> None:
        self._goes_on()
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


def _role(name: str) -> str:
    return name if name in FIXED else name.partition(":")[0]
