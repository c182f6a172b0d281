"""The same model beside a real agent: killed, not stopped, with containers, on the real kernel."""

from __future__ import annotations

import shutil
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agents import until
from agreement import assert_same, expected_listeners, expected_tree, tree_of
from chaos.agreeing import eventually, listeners_of
from chaos.machine import SHOCKS
from chaos.model import IDS, SMALL, Model, ids, places, small, specs
from chaos.plain import Plain
from chaos.told import Params, Violation, require
from chaos.victim import Victim, check_kernel
from lab import Lab
from moorage import Fault, Refused
from moorage.kernel.linux.nftables import Nftables
from moorage.rpc.wire import interface_from_wire, interface_to_wire

CRASHING = (
    "journal",
    "ip:default",
    "tcp-ports",
    "port-mapper",
    "links",
    "proxies",
    "interfaces",
    "interface:a",
)
TAKING_BACK = ("unpublish", "release", "detach")
plainly = st.sampled_from([None, "attach", *TAKING_BACK])
"""What is asked for without a string right before or after a request that is repeated."""
PATIENT = 5
"""How often rules are flushed under one agent: half of what makes a fight of it."""


def flush() -> None:
    """Remove every rule of this namespace."""
    nftables = Nftables()
    try:
        nftables.run("flush ruleset")
    finally:
        nftables.close()


def _calm(machine: LinuxMachine) -> bool:
    return machine._shocks < SHOCKS


class LinuxMachine(RuleBasedStateMachine):
    """Each id has a container of its own, to be attached to."""

    def __init__(self) -> None:
        """Make the namespaces and start an agent."""
        super().__init__()
        self._model = Model()
        self._asked = self._disturbed = self._shocks = 0
        self._answers: list[tuple[str, Params, Any]] = []
        self._directory = Path(tempfile.mkdtemp())
        self._exit = ExitStack()
        self._lab = self._exit.enter_context(Lab())
        self._places = {id: self._lab.container(id) for id in IDS}
        self._victim = self._exit.enter_context(
            Victim(self._directory, self._lab, port_range="49153-65535", quarantine=3600.0)
        )

    def teardown(self) -> None:
        """End it all."""
        self._exit.close()
        shutil.rmtree(self._directory)

    @rule(id=ids, ports=specs, place=places, placed=st.booleans(), keyed=st.booleans())
    def allocate(self, id: str, ports: list[str], place: Params, placed: bool, keyed: bool) -> None:
        """Allocate, in the container or not."""
        params: Params = {"id": id, "ports": ports, "labels": {"turn": str(self._asked)}}
        self._call("allocate", params | place | ({"netns": self._places[id]} if placed else {}), keyed)

    @rule(name=small, odd=st.booleans(), keyed=st.booleans())
    def change_network(self, name: str, odd: bool, keyed: bool) -> None:
        """Make a network or remove it; an odd wish is for one that is there, or for the end of one that is not."""
        if (name in self._model.networks) != odd:
            self._call("remove_network", {"name": name}, keyed)
        else:
            self._call("create_network", {"name": name, "subnet": SMALL[name]}, keyed)

    @rule(id=ids, away=st.booleans())
    def vanish(self, id: str, away: bool) -> None:
        """A container that is attached ends without a word, while the agent runs or is away."""
        known = self._model.interfaces.get(id)
        if known is None or known.netns is None:
            return
        if away:
            self._victim.kill()
        self._lab.remove(id)
        if away:
            self._victim.start()
        until(lambda: id not in {each.id for each in self._victim.client.list()})
        self._model.lose(id)
        self._places[id] = self._lab.container(id)

    @rule(id=ids, ports=specs.filter(bool), keyed=st.booleans())
    def publish(self, id: str, ports: list[str], keyed: bool) -> None:
        """Publish ports, some of which it may have."""
        self._call("publish", {"id": id, "ports": ports}, keyed)

    @rule(id=ids, method=st.sampled_from(TAKING_BACK), keyed=st.booleans())
    def take_back(self, id: str, method: str, keyed: bool) -> None:
        """Give something back."""
        self._call(method, {"id": id}, keyed)

    @rule(id=ids, keyed=st.booleans())
    def attach(self, id: str, keyed: bool) -> None:
        """Attach it to its container."""
        self._call("attach", {"id": id, "netns": self._places[id]}, keyed)

    @rule(data=st.data(), before=plainly, after=plainly)
    def repeat(self, data: st.DataObject, before: str | None, after: str | None) -> None:
        """Repeat a request, perhaps between two for its id without a string: it gets its first answer, they theirs."""
        if not self._answers:
            return
        method, params, first = data.draw(st.sampled_from(self._answers))
        self._ask_plainly(before, params)
        again = getattr(self._victim.client, method)(**params)
        require(again == first, f"{method} {params}: {first} at first, {again} when repeated")
        self._ask_plainly(after, params)

    def _ask_plainly(self, method: str | None, params: Params) -> None:
        id = params.get("id")
        if method is None or id is None:
            return
        more = {"netns": self._places[id]} if method == "attach" else {}
        self._call(method, {"id": id, **more}, keyed=False)

    @precondition(_calm)
    @rule(name=st.sampled_from(CRASHING))
    def crash(self, name: str) -> None:
        """An actor crashes, and another takes its place."""
        self._shocks += 1
        before = self._lives(name)
        with suppress(Refused):  # there is no such interface
            self._victim.client.crash(name)
            until(lambda: self._lives(name) != before)

    @precondition(_calm)
    @rule(flushed=st.booleans())
    def kill(self, flushed: bool) -> None:
        """The agent is killed and started again, its rules there still or not."""
        self._shocks += 1
        self._victim.kill()
        if flushed:
            self._flush()
        self._victim.start()

    @precondition(_calm)
    @rule()
    def disturb(self) -> None:
        """Somebody flushes all rules. Who does so too often is given way to: another agent is none the wiser."""
        self._shocks += 1
        self._disturbed += 1
        if self._disturbed % PATIENT == 0:
            self._victim.replace()
        self._flush()

    @invariant()
    def all_agree(self) -> None:
        """Model, agent, reopened journal, rules, links and listeners are the same."""
        eventually(self._agree)

    def _agree(self) -> None:
        client = self._victim.client
        require(all(each.state == "running" for each in client.tree()), "not all are running")
        present = {each.id: each for each in client.list()}
        require(present == self._model.interfaces, f"there are {present}, not {self._model.interfaces}")
        journal = self._victim.recorded()
        told = {each.id: interface_from_wire(interface_to_wire(each)) for each in journal.interfaces}
        require(told == present, f"there are {present}, and {told} in the reopened journal")
        assert_same("tree", tree_of(client), expected_tree(client, journal.interfaces))  # type: ignore[arg-type]  # the same methods
        assert_same("listeners", listeners_of(self._victim.pid), expected_listeners(journal.interfaces))
        check_kernel(self._victim, journal)

    def _call(self, method: str, params: Params, keyed: bool) -> None:
        self._shocks = 0
        expected = self._model.refusal(method, params)
        self._asked += 1
        if keyed:
            params["request"] = f"r{self._asked}"
        try:
            answer = self._ask(method, params, keyed)
        except Fault as fault:
            raise Violation(f"{method} {params} broke: {fault}") from fault
        except Refused as refusal:
            require(refusal.code == expected, f"{method} {params} was refused, not for {expected}: {refusal}")
            self._model.hear_refusal(method, params)
            return
        require(expected is None, f"{method} {params} gave {answer}, not {expected}")
        self._model.hear(method, params, answer)
        if keyed:
            self._answers.append((method, params, answer))

    def _ask(self, method: str, params: Params, keyed: bool) -> Any:
        if keyed:
            return getattr(self._victim.client, method)(**params)
        return getattr(Plain(self._victim.socket), method)(**params)

    def _flush(self) -> None:
        self._lab.call("host", flush)

    def _lives(self, name: str) -> list[tuple[int, str]]:
        return [(each.restarts, each.since) for each in self._victim.client.tree() if each.name == name]
