"""A client that allocates, publishes and releases, repeats what was not answered, or looks what came of it."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any

from chaos.plain import plain
from chaos.told import Params, Told, Violation, require
from moorage.errors import Code, Fault, MoorageError, Refused, Unreachable
from moorage.methods import Methods
from moorage.model.port_spec import PortSpec
from moorage.values import Interface

SLOTS = 4
"""Interfaces that one client has at most."""
ANSWER = 60.0
"""Seconds within which every request has to have its answer, repeats included."""
PAUSE = 0.03
"""Seconds between repeats."""
HISTORY = 20
"""Requests that a client remembers with their answers, to repeat them long after."""
KEYED = 0.7
"""How many requests bring a string of their own, by which they can be repeated."""

PORT_RANGE = "40000-40199"
FIXED = range(20000, 20016)
"""Host ports that all clients want."""
RUN = 3
"""Ports of a range; those of one request are as far apart."""
ADDRESSES = [f"10.0.42.{host}" for host in range(200, 208)]
"""Addresses that all clients want."""
TAKEN = {Code.PORT_IN_USE, Code.ADDRESS_IN_USE}
"""Why a client that asks for what others want may be refused."""


class Worker:
    """One client: asks for one thing after the other, drawn from a seed, until it is paused or stopped."""

    def __init__(self, number: int, seed: int, methods: Methods, places: Sequence[str] = ()) -> None:
        """Ask `methods`; `places` are network namespaces that nobody else uses."""
        self.told = Told()
        self.answered = self.repeated = 0
        self.slowest = 0.0
        self.waits_for: str | None = None
        self.failure: BaseException | None = None
        self._name, self._methods, self._places = f"w{number}", methods, places
        self._plain = plain(methods)
        self._random = random.Random(f"{seed}/{number}")
        self._serial = 0
        self._ids = [f"{self._name}-{letter}" for letter in "abcdefgh"[: SLOTS + 2]]
        self._history: list[tuple[str, Params, Any]] = []

    def step(self) -> None:
        """Ask for one thing and hear the answer, or repeat what was asked long ago. Raises Violation."""
        if self._history and self._random.random() < 0.1:
            self._repeat_old()
            return
        method, params = self._choose()
        self._serial += 1
        if self._random.random() < KEYED:
            self._ask_keyed(method, params)
        else:
            self._ask_plainly(method, params)

    def _ask_keyed(self, method: str, params: Params) -> None:
        params["request"] = f"{self._name}-{self._serial}"
        answer = self._ask(method, params)
        if self._hears(method, params, answer):
            self._history = [*self._history[1 - HISTORY :], (method, params, answer)]

    def _hears(self, method: str, params: Params, answer: Any) -> bool:
        """Take an answer, or a refusal that may be."""
        if isinstance(answer, Refused):
            expected = answer.code in TAKEN or (answer.code is Code.EXISTS and self.told.differs(params))
            require(expected, f"{method} {params} was refused: {answer}")
            return False
        self.told.hear(method, params, answer)
        return True

    def _repeat_old(self) -> None:
        """Repeat one; often something is asked for the same interface right after, without a string."""
        method, params, first = self._random.choice(self._history)
        again = self._ask(method, params)
        require(again == first, f"{method} {params} gave {first} at first and {again} when repeated")
        known = self.told.interfaces.get(params.get("id", ""))
        if known is not None and self._random.random() < 0.5:
            self._ask_plainly(*self._choose_for(known))

    def _ask_plainly(self, method: str, params: Params) -> None:
        """Ask without a string; where the answer is missed, look what came of it."""
        params.setdefault("id", f"{self._name}-{self._serial}")
        began, self.waits_for = time.monotonic(), f"{method} {params}"
        try:
            answer = self._once(method, params, began + ANSWER)
        finally:
            self._answered(began)
        if answer is None:
            self.told.find(method, params, self._look(params["id"]))
        else:
            self._hears(method, params, answer)

    def _once(self, method: str, params: Params, until: float) -> Any:
        """Ask until it was done once, or refused; None when that is unknown."""
        while True:
            try:
                return getattr(self._plain, method)(**params)
            except (Fault, Unreachable):
                return None
            except Refused as error:
                if error.code is not Code.UNAVAILABLE:
                    return error
                self._must_go_on(method, params, until, error)
            time.sleep(PAUSE)

    def _look(self, id: str) -> Interface | None:
        found = self._ask("inspect", {"id": id})
        if isinstance(found, Refused):
            require(found.code is Code.NOT_FOUND, f"inspect {id} was refused: {found}")
            return None
        interface: Interface = found
        return interface

    def _ask(self, method: str, params: Params) -> Any:
        began, self.waits_for = time.monotonic(), f"{method} {params}"
        try:
            return self._insist(method, params, began + ANSWER)
        finally:
            self._answered(began)

    def _answered(self, began: float) -> None:
        self.answered += 1
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.waits_for = None

    def _insist(self, method: str, params: Params, until: float) -> Any:
        """Repeat until there is an answer that is one."""
        while True:
            try:
                return getattr(self._methods, method)(**params)
            except (Fault, Unreachable, Refused) as error:
                if isinstance(error, Refused) and error.code is not Code.UNAVAILABLE:
                    return error
                self._must_go_on(method, params, until, error)
            time.sleep(PAUSE)

    def _must_go_on(self, method: str, params: Params, until: float, error: MoorageError) -> None:
        self.repeated += 1
        if time.monotonic() > until:
            raise Violation(f"{method} {params} had no answer within {ANSWER} s, last: {error}") from error

    # -- what to ask for

    def _choose(self) -> tuple[str, Params]:
        mine = self.told.interfaces
        if not mine or (len(mine) < SLOTS and self._random.random() < 0.3):
            return "allocate", self._allocation()
        return self._choose_for(self._random.choice(list(mine.values())))

    def _choose_for(self, interface: Interface) -> tuple[str, Params]:
        choices: list[Callable[[Interface], tuple[str, Params]]] = [
            self._publish, self._publish, self._unpublish, self._release, *[self._place] * bool(self._places),
        ]  # fmt: skip
        return self._random.choice(choices)(interface)

    def _allocation(self) -> Params:
        params = self._published(self._random.randrange(4))
        if self._random.random() < 0.8:
            params["id"] = self._random.choice([id for id in self._ids if id not in self.told.interfaces])
        if self._random.random() < 0.2:
            params["ip"] = self._random.choice(ADDRESSES)
        if (free := self._free_places()) and self._random.random() < 0.5:
            params["netns"] = free[0]
        return params

    def _publish(self, interface: Interface) -> tuple[str, Params]:
        return "publish", {"id": interface.id, **self._published(self._random.randrange(1, 4))}

    def _unpublish(self, interface: Interface) -> tuple[str, Params]:
        params: Params = {"id": interface.id}
        if interface.ports and self._random.random() < 0.7:
            mapping = self._random.choice(interface.ports)
            spec = PortSpec(mapping.proto, None, mapping.host_port, mapping.container_port, mapping.count)
            params["ports"] = [str(spec)]
        return "unpublish", params

    def _release(self, interface: Interface) -> tuple[str, Params]:
        return "release", {"id": interface.id}

    def _place(self, interface: Interface) -> tuple[str, Params]:
        if interface.netns is not None:
            return "detach", {"id": interface.id}
        free = self._free_places()
        return ("attach", {"id": interface.id, "netns": free[0]}) if free else self._release(interface)

    def _free_places(self) -> list[str]:
        taken = {each.netns for each in self.told.interfaces.values()}
        return [place for place in self._places if place not in taken]

    def _published(self, count: int) -> Params:
        """Specs, with a source where they are all of TCP."""
        specs = self._specs(count)
        proxied = all(spec.endswith("/tcp") for spec in specs) and self._random.random() < 0.3
        return {"ports": specs, **({"source": "proxy-v2"} if proxied else {})}

    def _specs(self, count: int) -> list[str]:
        """Different container ports, some on host ports that others want too."""
        ports = self._random.sample(range(1, 100), count)
        fixed = self._random.sample(FIXED[self._random.randrange(RUN) :: RUN], count)
        return [self._spec(host, port) for host, port in zip(fixed, ports, strict=True)]

    def _spec(self, host: int, port: int) -> str:
        proto = self._random.choice(("tcp", "udp"))
        kind = self._random.random()
        if kind < 0.1:
            last = host + RUN - 1
            return f"{host}-{last}:{host}-{last}/{proto}"
        return f"{host}:{port}/{proto}" if kind < 0.3 else f"{port}/{proto}"
