"""Refusals for what a container holds that has ended, and was not collected yet."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import moorage.agent
from agreement import StartAgent, assert_agreement
from moorage import Agent, Config, Refused
from moorage.kernel.memory import MemoryKernel, MemoryLinks
from moorage.kernel.protocol import Namespace
from moorage.model.caller import Caller
from moorage.values import Interface, Network

pytestmark = pytest.mark.system

Ask = Callable[[Agent], Any]


class MortalKernel(MemoryKernel):
    """A kernel in a dict whose containers end; no audit finds out, only who asks about one."""

    real = True

    def __init__(self) -> None:
        """Begin with all alive."""
        super().__init__(ipv6=True)
        self.dead: set[str] = set()
        self.asked: list[str] = []

    def open_links(self, former: Any, **options: Any) -> MemoryLinks:
        """Open links to which containers can be attached."""
        return MortalLinks(self, former, options["maker"])


class MortalLinks(MemoryLinks):
    """Links of containers whose names are their namespaces."""

    _kernel: MortalKernel

    def find_namespace(self, netns: str, caller: Caller | None = None) -> Namespace:
        """Every name is a namespace, whose cookie is its hash."""
        return Namespace(f"/run/netns/{netns}", hash(netns))

    def attach(self, interface: Interface, network: Network) -> None:
        """Attach without a trace."""

    def gone(self, interfaces: Collection[Interface]) -> list[str]:
        """Those whose container has ended."""
        self._kernel.asked += [each.id for each in interfaces]
        return [each.id for each in interfaces if (each.netns or "").rpartition("/")[2] in self._kernel.dead]


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> MortalKernel:
    made = MortalKernel()
    monkeypatch.setattr(moorage.agent, "open_kernel", lambda _config: made)
    return made


@pytest.fixture
def agent(start_agent: StartAgent) -> Agent:
    """An agent with `web`, attached, on the network `back`, which has room for nobody else."""
    made = start_agent()
    made.create_network("back", subnet="10.0.44.0/30", gateway="10.0.44.1")
    made.allocate(
        "web", network="back", netns="old", mac="02:00:00:00:00:07", ports=["8080:80", "8000-8001:80-81/udp"]
    )
    return made


def allocated(**params: Any) -> Ask:
    return lambda agent: agent.allocate(**params)


BLAMED: dict[str, Ask] = {
    "its id": allocated(id="web", netns="new"),
    "its id and labels": allocated(id="web", labels={"a": "b"}),
    "its id, again": allocated(id="web", network="back"),
    "its id on another network": allocated(id="web", network="default", ports=["8080:80"]),
    "its address": allocated(id="api", network="back", ip="10.0.44.2"),
    "the last address": allocated(id="api", network="back"),
    "its port": allocated(id="api", ports=["8080:80"]),
    "a port on one address": allocated(id="api", ports=["127.0.0.1:8080:80"]),
    "its range": allocated(id="api", ports=["8001:80/udp"]),
    "its port, published": lambda agent: agent.publish("api", ["8080:80"]),
    "its network": lambda agent: agent.remove_network("back").removed or pytest.fail("not removed"),
}
"""What is asked of what `web` holds."""


@pytest.mark.parametrize("request_", [None, "r1"], ids=["plain", "keyed"])
@pytest.mark.parametrize("what", BLAMED)
def test_what_a_dead_container_held_is_given(
    agent: Agent, kernel: MortalKernel, what: str, request_: str | None
) -> None:
    """Nobody is refused for a container that has ended: it is collected, and the request is done."""
    if "published" in what:
        agent.allocate("api")
    with_request = {} if request_ is None else {"request": request_}
    kernel.dead.add("old")
    ask = BLAMED[what]
    ask(_Asking(agent, with_request))  # type: ignore[arg-type]  # the same methods
    assert "old" not in {(each.netns or "").rpartition("/")[2] for each in agent.list()}
    assert_agreement(agent)


class _Asking:
    """An agent whose every call brings these parameters too."""

    def __init__(self, agent: Agent, more: dict[str, Any]) -> None:
        self._agent, self._more = agent, more

    def __getattr__(self, method: str) -> Any:
        return lambda *args, **params: getattr(self._agent, method)(*args, **params, **self._more)


@pytest.mark.parametrize("what", [each for each in BLAMED if each != "its id, again"])
def test_the_living_are_not_disturbed(agent: Agent, kernel: MortalKernel, what: str) -> None:
    """While it lives, the same is refused, or would be, and nothing of it changes."""
    web = agent.inspect("web")
    if "published" in what:
        agent.allocate("api")
    with pytest.raises(Refused) as refused:
        BLAMED[what](agent)
    assert refused.value.code in {
        "exists",
        "address_in_use",
        "addresses_exhausted",
        "port_in_use",
        "ports_exhausted",
    }
    assert agent.inspect("web") == web
    assert "web" in kernel.asked or what.startswith("its id")


def test_a_mac_of_the_dead_is_given(agent: Agent, kernel: MortalKernel) -> None:
    """A MAC that an ended container had may be asked for."""
    agent.create_network("wide", subnet="10.0.45.0/24")
    agent.allocate("old", network="wide", netns="old", mac="02:00:00:00:00:09")
    with pytest.raises(Refused, match="old"):
        agent.allocate("new", network="wide", mac="02:00:00:00:00:09")
    kernel.dead.add("old")
    assert agent.allocate("new", network="wide", mac="02:00:00:00:00:09").mac == "02:00:00:00:00:09"


def test_several_dead_are_collected_one_after_the_other(agent: Agent, kernel: MortalKernel) -> None:
    """A request that two ended containers are in the way of is done; one that still lives is named."""
    agent.allocate("one", netns="one", ports=["9001:80"])
    agent.allocate("two", netns="two", ports=["9002:80"])
    agent.allocate("three", netns="three", ports=["9003:80"])
    kernel.dead |= {"one", "two"}
    with pytest.raises(Refused, match="three"):
        agent.allocate("api", ports=["9001:80", "9002:80", "9003:80"])
    assert {each.id for each in agent.list()} == {"web", "three"}
    kernel.dead.add("three")
    agent.allocate("api", ports=["9001:80", "9002:80", "9003:80"])
    assert_agreement(agent)


def test_a_dead_interface_is_not_attached_elsewhere(agent: Agent, kernel: MortalKernel) -> None:
    """Who attaches an interface whose container ended hears that it is gone, not to detach it."""
    kernel.dead.add("old")
    with pytest.raises(Refused) as refused:
        agent.attach("web", "new")
    assert refused.value.code == "not_found"
    assert agent.list() == []


def test_all_automatic_ports_of_the_dead_are_given(start_agent: StartAgent, kernel: MortalKernel) -> None:
    """A range whose ports an ended container has all is not exhausted."""
    agent = start_agent(port_range="40000-40009")
    agent.allocate("old", netns="old", ports=["80"] * 10)
    with pytest.raises(Refused, match="40000-40009"):
        agent.allocate("new", ports=["80"])
    kernel.dead.add("old")
    assert agent.allocate("new", ports=["80"]).ports[0].host_port in range(40000, 40010)


def test_the_default_network_is_made_anew(kernel: MortalKernel, state: Path) -> None:
    """An agent starts with another subnet where only ended containers are left on the former one."""
    config = {"kernel": "memory", "state": state}
    with ExitStack() as stack:
        former = stack.enter_context(Agent(Config(**config, subnet="10.0.42.1/24")))
        former.allocate("old", netns="old")
        former.stop()
        with pytest.raises(Refused, match="release them first"):
            Agent(Config(**config, subnet="10.0.43.1/24")).start()
        kernel.dead.add("old")
        agent = stack.enter_context(Agent(Config(**config, subnet="10.0.43.1/24")))
        assert agent.networks()[0].subnet == "10.0.43.0/24"
        assert agent.list() == []
