"""Clients that allocate, publish and release all the time, and repeat what was not answered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from chaos.told import Params, Told, Violation, require
from moorage.errors import Code, Fault, MoorageError, Refused, Unreachable
from moorage.methods import Methods
from moorage.model.port_spec import PortSpec
from moorage.values import Interface

CLIENTS = 8
SLOTS = 4
"""Interfaces that one client has at most."""
ANSWER = 60.0
"""Seconds within which every request has to have its answer, repeats included."""
PAUSE = 0.03
"""Seconds between repeats."""
HISTORY = 20
"""Requests that a client remembers with their answers, to repeat them long after."""

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
        self._random = random.Random(f"{seed}/{number}")
        self._serial = 0
        self._history: list[tuple[str, Params, Any]] = []

    def step(self) -> None:
        """Ask for one thing and hear the answer. Raises Violation."""
        if self._history and self._random.random() < 0.1:
            self._repeat_old()
            return
        method, params = self._choose()
        self._serial += 1
        params["request"] = f"{self._name}-{self._serial}"
        answer = self._ask(method, params)
        if isinstance(answer, Refused):
            expected = answer.code in TAKEN or (answer.code is Code.EXISTS and self.told.differs(params))
            require(expected, f"{method} {params} was refused: {answer}")
            return
        self.told.hear(method, params, answer)
        self._history = [*self._history[1 - HISTORY :], (method, params, answer)]

    def _repeat_old(self) -> None:
        method, params, first = self._random.choice(self._history)
        again = self._ask(method, params)
        require(again == first, f"{method} {params} gave {first} at first and {again} when repeated")

    def _ask(self, method: str, params: Params) -> Any:
        began, self.waits_for = time.monotonic(), f"{method} {params}"
        try:
            return self._insist(method, params, began + ANSWER)
        finally:
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
        interface = self._random.choice(list(mine.values()))
        choices: list[Callable[[Interface], tuple[str, Params]]] = [
            self._publish, self._publish, self._unpublish, self._release, *[self._place] * bool(self._places),
        ]  # fmt: skip
        return self._random.choice(choices)(interface)

    def _allocation(self) -> Params:
        params = self._published(self._random.randrange(4))
        if self._random.random() < 0.8:
            params["id"] = f"{self._name}-{self._serial}"
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


class Load:
    """Workers in threads, which `pause` stops between two answers. A context manager that stops them for good."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        """Start them, paused."""
        self.workers = workers
        self._condition = threading.Condition()
        self._going = self._over = False
        self._idle = 0
        self._threads = [
            threading.Thread(target=self._run, args=(worker,), name=f"load {number}", daemon=True)
            for number, worker in enumerate(workers)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_error: object) -> None:
        with self._condition:
            self._over = True
            self._condition.notify_all()
        for thread in self._threads:
            thread.join(2 * ANSWER)

    def go(self) -> None:
        """Let them ask."""
        with self._condition:
            self._going = True
            self._condition.notify_all()

    def pause(self) -> None:
        """Wait until each has its answer and asks for nothing more. Raises what one of them raised."""
        with self._condition:
            self._going = False
            settled = self._condition.wait_for(lambda: self._idle == len(self.workers), 2 * ANSWER)
        self.raise_failure()
        require(settled, f"no answer within {2 * ANSWER} s to {[each.waits_for for each in self.workers]}")

    def raise_failure(self) -> None:
        """Raise what the first worker that failed raised."""
        for worker in self.workers:
            if worker.failure is not None:
                raise worker.failure

    @property
    def told(self) -> dict[str, Interface]:
        """What all clients were told, while they are paused."""
        return {id: each for worker in self.workers for id, each in worker.told.interfaces.items()}

    @property
    def answered(self) -> int:
        """Requests that had an answer."""
        return sum(worker.answered for worker in self.workers)

    @property
    def repeated(self) -> int:
        """How often one was repeated for want of an answer."""
        return sum(worker.repeated for worker in self.workers)

    @property
    def slowest(self) -> float:
        """Seconds that the slowest answer took, repeats included."""
        return max(worker.slowest for worker in self.workers)

    def _run(self, worker: Worker) -> None:
        while self._may_go_on():
            try:
                worker.step()
            except BaseException as error:  # noqa: BLE001 - raised again by `pause`
                worker.failure = error
                self._going = False

    def _may_go_on(self) -> bool:
        with self._condition:
            self._idle += 1
            self._condition.notify_all()
            self._condition.wait_for(lambda: self._going or self._over)
            self._idle -= 1
            return not self._over
