"""What a container may send is in the kernel before its link is."""

from __future__ import annotations

from typing import Any

import pytest

import moorage.agent
from agents import until
from agreement import StartAgent, assert_agreement
from control.test_dead_holders import MortalKernel, MortalLinks
from moorage import Agent, Fault
from moorage.control.port_mapper import PortMapper
from moorage.kernel.memory import MemoryLinks
from moorage.kernel.protocol import Reconciled
from moorage.model.guard import guard_elements
from moorage.values import Interface, Network


class Guarded(MortalKernel):
    """A kernel that notes of each link that is made whether its rules were there."""

    def __init__(self) -> None:
        """Begin with none made."""
        super().__init__()
        self.linked: list[tuple[str, bool]] = []

    def open_links(self, former: Any, **options: Any) -> MemoryLinks:
        """Open links that look at the rules first."""
        return GuardedLinks(self, former, options["maker"])

    def note(self, interface: Interface, network: Network) -> None:
        """A link is about to be made."""
        self.linked.append((interface.id, guard_elements(interface, network) <= self.elements))


class GuardedLinks(MortalLinks):
    """Links that are made by whoever attaches, and by a look where they are missing."""

    _kernel: Guarded

    def attach(self, interface: Interface, network: Network) -> None:
        """Look at the rules, then attach."""
        self._kernel.note(interface, network)

    def reconcile(self, networks: Any, interfaces: Any) -> Reconciled:
        """Make every link that is recorded."""
        by_name = {network.name: network for network in networks}
        for each in interfaces:
            if each.netns is not None:
                self._kernel.note(each, by_name[each.network])
        return super().reconcile(networks, interfaces)


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> Guarded:
    """The kernel of every agent in the test."""
    made = Guarded()
    monkeypatch.setattr(moorage.agent, "open_kernel", lambda _config: made)
    return made


def guarded(kernel: Guarded) -> set[str]:
    """The ports whose containers may send."""
    return {str(each.key[0]) for each in kernel.elements if each.container == "ports"}


@pytest.mark.parametrize("guard", ["interface", "network"])
def test_rules_are_there_before_the_link(agent: Agent, kernel: Guarded, guard: str) -> None:
    """However a container is attached, what it may send is said before; and nothing is left when it is gone."""
    agent.create_network("back", guard=guard)
    agent.allocate("web", network="back", netns="web", ports=["8080:80"])
    agent.allocate("api", network="back")
    agent.attach("api", "api")
    agent.detach("api")
    agent.attach("api", "elsewhere")
    assert [name for name, _ in kernel.linked if name == "api"].count("api") >= 2
    assert all(there for _, there in kernel.linked)
    assert len(guarded(kernel)) == 2
    assert_agreement(agent)
    agent.detach("api")
    agent.release("web")
    until(lambda: not guarded(kernel))
    assert_agreement(agent)


def test_rules_are_there_before_a_start_makes_links(start_agent: StartAgent, kernel: Guarded) -> None:
    """A start, and a life of the links' actor, look at links when their rules are there, whoever took those away."""
    agent = start_agent()
    agent.allocate("web", netns="web")
    agent.stop()
    kernel.disturb()
    agent.start()
    agent.crash("links")
    until(lambda: agent.status().restarts == 1 and all(each.state == "running" for each in agent.tree()))
    agent.crash("port-mapper")
    until(lambda: agent.status().restarts == 2 and all(each.state == "running" for each in agent.tree()))
    assert kernel.linked
    assert all(there for _, there in kernel.linked)
    assert_agreement(agent)


def test_a_container_without_rules_is_not_attached(
    agent: Agent, kernel: Guarded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the port mapper dies over the rules, there is no link, and the interface is not attached."""
    receive, died = PortMapper.receive_batch, []

    async def die_once(self: PortMapper, messages: list[Any]) -> list[Any]:
        if not died and any(each.owner == "guard:web" for each in messages):
            died.append(len(kernel.linked))
            raise RuntimeError("in the middle of it")
        return await receive(self, messages)

    agent.allocate("web")
    monkeypatch.setattr(PortMapper, "receive_batch", die_once)
    with pytest.raises(Fault):
        agent.attach("web", "web")
    assert died == [0]
    until(lambda: agent.status().restarts)
    assert all(there for _, there in kernel.linked)
    assert_agreement(agent)
    agent.release("web")
    agent.allocate("web", netns="web")
    assert kernel.linked[-1] == ("web", True)
