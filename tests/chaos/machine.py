"""A model of the agent: a few dictionaries that do what its methods promise, held to it after every step."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import moorage.agent
from agents import until
from agreement import actor, assert_agreement
from chaos.agreeing import eventually
from chaos.model import ADDRESSES, SMALL, SPECS, Model, ids, places, small, specs
from chaos.told import Params, Violation, require
from chaos.victim import recorded
from moorage import Agent, Config, Fault, Refused, parse_port_spec
from moorage.control.lookout import Lookout
from moorage.kernel.memory import MemoryKernel
from moorage.rpc.wire import interface_from_wire, interface_to_wire
from moorage.supervision.policy import Intensity, RestartCounter

CRASHING = (
    *("journal", "allocators", "ip:default", "tcp-ports", "udp-ports", "port-mapper", "links"),
    *("proxies", "interfaces", "gateway", "interface:a", "interface:b", "ip:back"),
)

PLAIN: dict[str, Params] = {
    "publish": {"ports": ["81/udp"]},
    "unpublish": {},
    "detach": {},
    "release": {},
}
"""What is asked for without a string right before or after a request that is repeated."""
plainly = st.sampled_from([None, "allocate", *PLAIN])


SHOCKS = 2
"""Disturbances between two requests: more of them would only be longer."""


def _calm(machine: Machine) -> bool:
    return machine._disturbed < SHOCKS


class Machine(RuleBasedStateMachine):
    """Anything in any order, crashes, restarts and a flushed firewall among it."""

    def __init__(self) -> None:
        """Start an agent on a kernel of its own."""
        super().__init__()
        self._directory = Path(tempfile.mkdtemp())
        self._kernel = MemoryKernel(ipv6=True)
        self._model = Model()
        self._answers: list[tuple[str, Params, Any]] = []
        self._turns = count()
        self._disturbed = 0
        self._agent = self._start()

    def teardown(self) -> None:
        """Stop the agent."""
        self._agent.stop()
        shutil.rmtree(self._directory)

    @initialize(id=ids, ports=specs, keyed=st.booleans())
    def begin(self, id: str, ports: list[str], keyed: bool) -> None:
        """Allocate: where there is nothing, most of what is done changes nothing."""
        self._allocate(id, ports, {}, keyed)

    @rule(id=ids, ports=specs, place=places, keyed=st.booleans())
    def allocate(self, id: str, ports: list[str], place: Params, keyed: bool) -> None:
        """Allocate, where there is none of that id or where there is one with other wishes."""
        self._allocate(id, ports, place, keyed)

    @rule(name=small, odd=st.booleans(), keyed=st.booleans())
    def change_network(self, name: str, odd: bool, keyed: bool) -> None:
        """Make a network or remove it; an odd wish is for one that is there, or for the end of one that is not."""
        if (name in self._model.networks) != odd:
            self._call("remove_network", {"name": name}, keyed)
        else:
            self._call("create_network", {"name": name, "subnet": SMALL[name]}, keyed)

    @rule(id=ids, ports=specs.filter(bool), keyed=st.booleans())
    def publish(self, id: str, ports: list[str], keyed: bool) -> None:
        """Publish ports, some of which it may have."""
        self._call("publish", {"id": id, "ports": ports}, keyed)

    @rule(id=ids, data=st.data(), keyed=st.booleans())
    def unpublish(self, id: str, data: st.DataObject, keyed: bool) -> None:
        """Unpublish one of its ports, or all."""
        known = self._model.interfaces.get(id)
        params: Params = {"id": id}
        if known is not None and known.ports and data.draw(st.booleans()):
            mapping = data.draw(st.sampled_from(known.ports))
            params["ports"] = [next(each for each in SPECS if _made(each, mapping))]
        self._call("unpublish", params, keyed)

    @rule(id=ids, method=st.sampled_from(["release", "release", "detach"]), keyed=st.booleans())
    def give_back(self, id: str, method: str, keyed: bool) -> None:
        """Release, whether there is one or not; or detach, which changes nothing here."""
        self._call(method, {"id": id}, keyed)

    @rule(data=st.data(), before=plainly, after=plainly)
    def repeat(self, data: st.DataObject, before: str | None, after: str | None) -> None:
        """Repeat a request, perhaps between two for its id without a string: it gets its first answer, they theirs."""
        if not self._answers:
            return
        recent = self._answers if data.draw(st.booleans()) else self._answers[-3:]
        method, params, first = data.draw(st.sampled_from(recent))
        self._ask_plainly(before, params)
        again = self._again(method, params)
        require(again == first, f"{method} {params}: {first} at first, {again} when repeated")
        self._ask_plainly(after, params)

    def _ask_plainly(self, method: str | None, params: Params) -> None:
        if method is None or "id" not in params:
            return
        if method == "allocate":
            self._allocate(params["id"], [], {}, keyed=False)
        else:
            self._call(method, {"id": params["id"], **PLAIN[method]}, keyed=False)

    def _again(self, method: str, params: Params) -> Any:
        try:
            return getattr(self._agent, method)(**params)
        except Refused as refusal:
            return refusal

    @precondition(_calm)
    @rule(name=st.sampled_from(CRASHING))
    def crash(self, name: str) -> None:
        """An actor crashes, and another takes its place."""
        for supervisor in ("root", "allocators", "proxies", "interfaces"):
            actor(self._agent, supervisor)._restarts = RestartCounter(Intensity(1000, 1.0))
        self._disturbed += 1
        before = self._urn(name)
        with suppress(Refused):  # there is no such interface
            self._agent.crash(name)
            until(lambda: self._urn(name) != before)

    @precondition(_calm)
    @rule(flushed=st.booleans())
    def restart(self, flushed: bool) -> None:
        """The agent stops and starts again, its rules there still or not."""
        self._disturbed += 1
        self._agent.stop()
        if flushed:
            self._kernel.disturb()
        self._agent = self._start()

    @precondition(_calm)
    @rule()
    def flush(self) -> None:
        """Somebody flushes all rules and removes all bridges, and is no enemy who does so each time."""
        self._disturbed += 1
        actor(self._agent, "port-mapper")._lookout = Lookout()
        self._kernel.disturb()

    @invariant()
    def all_agree(self) -> None:
        """Model, agent, reopened journal and kernel are the same."""
        eventually(self._agree)

    def _agree(self) -> None:
        states = {each.name for each in self._agent.tree() if each.state != "running"}
        require(not states, f"not running: {states}")
        assert_agreement(self._agent)
        present = {each.id: each for each in self._agent.list()}
        require(
            present == self._model.interfaces,
            f"there are {present}, and {self._model.interfaces} in the model",
        )
        journal = {each.id: each for each in recorded(self._directory / "state").interfaces}
        told = {id: interface_from_wire(interface_to_wire(each)) for id, each in journal.items()}
        require(told == present, f"there are {present}, and {told} in the reopened journal")
        bridges = {each.bridge for each in self._agent.networks()}
        require(set(self._kernel.bridges) == bridges, f"bridges {set(self._kernel.bridges)}, not {bridges}")

    def _allocate(self, id: str, ports: list[str], place: Params, keyed: bool) -> None:
        params: Params = {"id": id, "ports": ports, "labels": {"turn": str(next(self._turns))}}
        self._call("allocate", params | place, keyed)

    def _call(self, method: str, params: Params, keyed: bool) -> None:
        """Ask, with a string of its own or without: then the answer is never that of another request."""
        self._disturbed = 0
        expected = self._model.refusal(method, params)
        if keyed:
            params["request"] = f"r{len(self._answers)}-{method}"
        try:
            answer = getattr(self._agent, method)(**params)
        except Refused as refusal:
            require(
                refusal.code == expected, f"{method} {params} was refused, but not for {expected}: {refusal}"
            )
            self._model.hear_refusal(method, params)
            return
        except Fault as fault:
            raise Violation(f"{method} {params} broke: {fault}") from fault
        require(expected is None, f"{method} {params} gave {answer}, and should be refused as {expected}")
        self._model.hear(method, params, answer)
        if keyed:
            self._answers.append((method, params, answer))

    def _start(self) -> Agent:
        before = moorage.agent.open_kernel
        moorage.agent.open_kernel = lambda _config: self._kernel
        try:
            config = Config(
                kernel="memory",
                state=self._directory / "state",
                subnet="10.0.42.1/24",
                quarantine=3600.0,
                chaos=True,
            )
            return Agent(config).start()
        finally:
            moorage.agent.open_kernel = before

    def _urn(self, name: str) -> str | None:
        assert self._agent._context is not None
        ref = self._agent._context.directory.find(name)
        return None if ref is None else ref.actor_urn


ANY = "0.0.0.0"  # noqa: S104 - compared, not bound


def _made(spec: str, mapping: Any) -> bool:
    """Whether that spec could have made the mapping."""
    parsed = parse_port_spec(spec)
    return (parsed.proto, parsed.container_port, parsed.count, str(parsed.host_ip or ANY)) == (
        mapping.proto, mapping.container_port, mapping.count, mapping.host_ip,
    ) and parsed.host_port in {0, mapping.host_port}  # fmt: skip


class OneNetwork(Machine):
    """The same with the default network alone: faults elsewhere are found in fewer histories."""

    change_network = None  # a rule that is none any more

    @rule(id=ids, ports=specs, ip=st.sampled_from(ADDRESSES), keyed=st.booleans())
    def allocate(self, id: str, ports: list[str], ip: str | None, keyed: bool) -> None:  # type: ignore[override]  # other draws
        """Allocate, where there is none of that id or where there is one with other wishes."""
        self._allocate(id, ports, {} if ip is None else {"ip": ip}, keyed)
