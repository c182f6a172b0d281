"""A host's forwarding, switched on for our bridges alone: the rules come first."""

from __future__ import annotations

from typing import Any

import pytest

from agents import until
from agreement import StartAgent
from moorage import Agent, Fault
from moorage.control.port_mapper import PortMapper
from moorage.kernel.memory import MemoryKernel
from moorage.kernel.protocol import Element
from moorage.model.forwarding import SWITCHES

CONFINED = {family: Element("unforwarded", (family,)) for family in SWITCHES}


class Switches(dict[str, str]):
    """Sysctls that say, for each that is switched on, which families the rules kept to our bridges then."""

    def __init__(self, kernel: MemoryKernel) -> None:
        super().__init__(dict.fromkeys(SWITCHES.values(), "0"))
        self.seen: list[tuple[str, set[str]]] = []
        self._kernel = kernel

    def __setitem__(self, path: str, value: str) -> None:
        if value == "1":
            self.seen.append(
                (path, {str(each.key[0]) for each in self._kernel.elements & set(CONFINED.values())})
            )
        super().__setitem__(path, value)


@pytest.fixture
def switches(kernel: MemoryKernel) -> Switches:
    """The switches of a host that forwards nothing."""
    made = kernel.sysctls = Switches(kernel)
    return made


def test_rules_confine_before_forwarding_is_switched_on(agent: Agent, switches: Switches) -> None:
    """At the first network of a family its packets are confined to our bridges, and only then is it forwarded."""
    agent.create_network("more")
    assert switches.seen == [(SWITCHES["ipv4"], {"ipv4"})]
    agent.create_network("dual", subnet6="fd43::/64")
    assert switches.seen[1:] == [(SWITCHES["ipv6"], {"ipv4", "ipv6"})]


def test_nothing_is_switched_on_while_the_rules_are_out_of_reach(
    agent: Agent, switches: Switches, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the port mapper dies over it, the network is not made, and forwarding stays off until it is confined."""
    receive, died = PortMapper.receive_batch, []

    async def die_once(self: PortMapper, messages: list[Any]) -> list[Any]:
        if not died and any(each.owner == "host:forwarding" for each in messages):
            died.append(dict(switches))
            raise RuntimeError("in the middle of it")
        return await receive(self, messages)

    monkeypatch.setattr(PortMapper, "receive_batch", die_once)
    with pytest.raises(Fault):
        agent.create_network("more")
    assert died == [dict.fromkeys(SWITCHES.values(), "0")] == [switches]
    until(lambda: agent.status().restarts)
    agent.create_network("more")
    assert switches.seen == [(SWITCHES["ipv4"], {"ipv4"})]


def test_a_start_confines_before_links_are_looked_at(
    start_agent: StartAgent, kernel: MemoryKernel, switches: Switches
) -> None:
    """An agent started again confines what its journal says, also where everything of it is gone meanwhile."""
    agent = start_agent()
    agent.stop()
    kernel.disturb()
    switches.update(dict.fromkeys(SWITCHES.values(), "0"))
    switches.seen.clear()
    agent.start()
    assert switches.seen == [(SWITCHES["ipv4"], {"ipv4"})]


def test_a_host_that_forwards_is_left_alone(
    start_agent: StartAgent, kernel: MemoryKernel, switches: Switches
) -> None:
    """Where the host forwards already, or is said to be a router, no family is confined."""
    switches[SWITCHES["ipv4"]] = "1"
    agent = start_agent()
    assert not kernel.elements & set(CONFINED.values())
    agent.stop()
    switches[SWITCHES["ipv4"]] = "0"
    start_agent(forward_others=True)
    assert switches[SWITCHES["ipv4"]] == "1"
    assert not kernel.elements & set(CONFINED.values())
