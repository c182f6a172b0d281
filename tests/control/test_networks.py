"""Making, listing and removing networks."""

from __future__ import annotations

from typing import Any

import pytest

from agreement import StartAgent, assert_agreement
from moorage import Agent, Network, Refused
from moorage.control.ip_allocator import Release
from moorage.errors import Code
from moorage.kernel.memory import MemoryKernel, MemoryLinks
from moorage.kernel.protocol import Occupied
from moorage.supervision.directory import Address

pytestmark = pytest.mark.system


def test_the_default_network_is_made_at_start(agent: Agent) -> None:
    """An agent begins with the network `default` on its configured bridge and subnet."""
    assert agent.networks() == [Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1")]


def test_the_default_network_can_be_left_out(start_agent: StartAgent) -> None:
    """With `default_network = false` there is none, and an allocation without a network is refused."""
    agent = start_agent(default_network=False)
    assert agent.networks() == []
    with pytest.raises(Refused, match="default") as refused:
        agent.allocate("web")
    assert refused.value.code == "not_found"
    assert_agreement(agent)


def test_the_default_network_follows_the_configuration(start_agent: StartAgent) -> None:
    """Another subnet moves a default network without interfaces, and refuses the start where it has some."""
    start_agent().stop()
    agent = start_agent(subnet="10.0.50.1/24")
    assert agent.networks()[0].subnet == "10.0.50.0/24"
    agent.allocate("web")
    agent.stop()
    with pytest.raises(Refused, match=r"10\.0\.50\.0/24") as refused:
        start_agent(subnet="10.0.51.1/24")
    assert refused.value.code == "exists"
    assert start_agent(subnet="10.0.50.1/24").inspect("web").ip == "10.0.50.2"


@pytest.mark.parametrize("addresses", [("10.9.0.3",), ("fd09::3",), ("10.9.0.3", "10.0.42.2")])
def test_addresses_of_a_former_network_are_nobodys(agent: Agent, addresses: tuple[str, ...]) -> None:
    """What comes back late, when its network was made anew with another subnet, is no error and takes nothing away."""
    agent.allocate("web")
    assert agent._context is not None
    allocator = Address(agent._context.directory, "ip:default")
    assert allocator.ask(Release("other", addresses)).wait() is None
    assert_agreement(agent)


def test_a_subnet_is_chosen(agent: Agent, kernel: MemoryKernel) -> None:
    """Without a subnet a network gets one that overlaps neither another network nor what the host uses."""
    first = agent.create_network("first")
    kernel.occupied.append(Occupied("10.0.0.0/8", "route 10.0.0.0/8 dev eth0"))
    second = agent.create_network("second")
    assert not second.subnet.startswith("10.")
    assert len({first.subnet, second.subnet, "10.0.42.0/24"}) == 3
    assert first.bridge == "mg-first"


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"name": "default"}, "exists", "default"),
        ({"name": "back", "bridge": "moorage0"}, "exists", "moorage0"),
        ({"name": "back", "subnet": "10.0.42.128/25"}, "address_in_use", "network default"),
        ({"name": "back", "subnet": "10.0.0.1/8"}, "address_in_use", "default"),
        ({"name": "back", "subnet": "192.168.7.1/24"}, "address_in_use", "eth0"),
        ({"name": "back", "subnet": "10.0.43.1/32"}, "invalid", "/32"),
        ({"name": "back", "subnet": "10.0.43.1/24", "gateway": "10.0.44.1"}, "invalid", "10.0.44.1"),
        ({"name": "back", "subnet6": "fd00:42::1/64"}, "address_in_use", "six"),
        ({"name": "-back"}, "invalid", "-back"),
        ({"name": "b" * 64}, "invalid", "63"),
        ({"name": "back", "bridge": "a" * 16}, "invalid", "15"),
        ({"name": "back", "mtu": 60}, "invalid", "mtu"),
    ],
)
def test_networks_that_are_refused(
    agent: Agent, kernel: MemoryKernel, asked: dict[str, object], code: str, why: str
) -> None:
    """A network that cannot be is refused, naming what it collides with, and nothing of it is made."""
    kernel.occupied.append(Occupied("192.168.0.0/16", "route 192.168.0.0/16 dev eth0"))
    agent.create_network("six", subnet="10.0.60.1/24", subnet6="fd00:42::1/64")
    before = agent.networks(), dict(kernel.bridges)
    with pytest.raises(Refused, match=why) as refused:
        agent.create_network(**asked)  # type: ignore[arg-type]  # each its own type
    assert refused.value.code == code
    assert (agent.networks(), kernel.bridges) == before
    assert_agreement(agent)


@pytest.fixture
def foreign(kernel: MemoryKernel) -> None:
    """Bridges of somebody else: one with large packets, one with small ones."""
    kernel.bridges["large"] = Network("x", "large", "10.0.60.0/24", "10.0.60.1", mtu=9000)
    kernel.bridges["small"] = Network("x", "small", "10.0.61.0/24", "10.0.61.1", mtu=1200)


@pytest.mark.parametrize("asked", [{}, {"mtu": 9000}])
def test_an_adopted_bridge_keeps_its_mtu(agent: Agent, foreign: None, asked: dict[str, Any]) -> None:
    """A network on a bridge that is there has its MTU, whether that is asked for or nothing is."""
    assert agent.create_network("back", bridge="large", **asked).mtu == 9000
    assert agent.networks()[0].mtu == 9000


@pytest.mark.parametrize(
    ("asked", "code", "why"),
    [
        ({"bridge": "large", "mtu": 1500}, "exists", "9000"),
        ({"bridge": "small", "mtu": 1500}, "exists", "1200"),
        ({"bridge": "small", "subnet6": "fd00:61::/64"}, "invalid", "1280"),
    ],
)
def test_another_mtu_than_an_adopted_bridges_is_refused(
    agent: Agent, foreign: None, asked: dict[str, Any], code: str, why: str
) -> None:
    """A bridge that is there is not changed, and no network is made on it that it cannot carry."""
    with pytest.raises(Refused, match=why) as refused:
        agent.create_network("back", **asked)
    assert refused.value.code == code
    assert [each.name for each in agent.networks()] == ["default"]


@pytest.mark.parametrize(
    ("out", "asked", "mtu"),
    [
        (None, {}, 1500),
        (1400, {}, 1400),
        (9000, {}, 9000),
        (65536, {}, 65535),
        (60, {}, 68),
        (576, {}, 576),
        (576, {"subnet6": "fd43::/64"}, 1280),
        (1400, {"mtu": 1500}, 1500),
        (1500, {"mtu": 68}, 68),
        (1500, {"mtu": 1280, "subnet6": "fd43::/64"}, 1280),
    ],
)
def test_a_network_takes_the_mtu_of_the_way_out(
    agent: Agent, kernel: MemoryKernel, out: int | None, asked: dict[str, Any], mtu: int
) -> None:
    """Without `mtu` a network has that of the link that leads out, within what IP allows, and 1500 where none does."""
    kernel.mtu_out = out
    assert agent.create_network("back", **asked).mtu == mtu


def test_the_default_network_has_the_mtu_of_its_key(start_agent: StartAgent, kernel: MemoryKernel) -> None:
    """The key `mtu` moves a default network without interfaces, and refuses the start where it has some."""
    kernel.mtu_out = 1400
    agent = start_agent()
    assert agent.networks()[0].mtu == 1400
    kernel.mtu_out = 1300
    agent.stop()
    agent = start_agent()
    assert agent.networks()[0].mtu == 1400
    agent.stop()
    agent = start_agent(mtu=1450)
    assert agent.networks()[0].mtu == 1450
    agent.allocate("web")
    agent.stop()
    with pytest.raises(Refused, match="MTU 1450") as refused:
        start_agent(mtu=1300)
    assert refused.value.code == "exists"
    assert start_agent().networks()[0].mtu == 1450


def test_a_network_with_interfaces_stays(agent: Agent, kernel: MemoryKernel) -> None:
    """A network is removed only when it is empty; what is not there is no error."""
    agent.create_network("back", subnet="10.0.43.1/24")
    agent.allocate("web", network="back")
    with pytest.raises(Refused, match="web") as refused:
        agent.remove_network("back")
    assert refused.value.code == "exists"
    agent.release("web")
    assert agent.remove_network("back").removed
    assert not agent.remove_network("back").removed
    assert "mg-back" not in kernel.bridges
    assert_agreement(agent)


@pytest.mark.parametrize("request_", [None, "once"])
@pytest.mark.parametrize("removed", [False, True])
def test_a_network_that_cannot_be_removed_is_there(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, request_: str | None, *, removed: bool
) -> None:
    """A kernel that refuses to remove it, whatever it did of that, leaves it as it was, and it is removed later."""
    before = agent.create_network("spare", subnet="10.0.43.0/24")
    really = MemoryLinks.remove_network

    def refuse(self: MemoryLinks, network: Network) -> None:
        if removed:
            really(self, network)
        raise Refused(Code.LIMIT, "no descriptors are left")

    with monkeypatch.context() as patched:
        patched.setattr(MemoryLinks, "remove_network", refuse)
        with pytest.raises(Refused, match="no descriptors") as refused:
            agent.remove_network("spare", request=request_)
    assert refused.value.code == "limit"
    assert before in agent.networks()
    assert agent.allocate("web", network="spare").ip == "10.0.43.2"
    assert_agreement(agent)
    agent.release("web")
    assert agent.remove_network("spare", request=request_).removed
    assert_agreement(agent)


def test_interfaces_are_listed_by_network(agent: Agent) -> None:
    """`list` gives the interfaces of one network, or of all, and refuses a network that is not there."""
    agent.create_network("back", subnet="10.0.43.1/24")
    agent.allocate("web")
    agent.allocate("db", network="back")
    assert [each.id for each in agent.list()] == ["web", "db"]
    assert [each.id for each in agent.list("back")] == ["db"]
    with pytest.raises(Refused, match="nowhere") as refused:
        agent.list("nowhere")
    assert refused.value.code == "not_found"


def test_networks_and_interfaces_outlive_the_agent(start_agent: StartAgent) -> None:
    """An agent started anew has every network and interface as it was, and goes on from there."""
    agent = start_agent()
    agent.create_network("back", subnet="10.0.43.1/24", subnet6="fd00:43::1/64", internal=True, mtu=1400)
    agent.allocate("web", ports=["8080:80", "53/udp"], labels={"a": "b"})
    agent.allocate("db", network="back", ports=["5432"])
    before = agent.networks(), agent.list()
    agent.stop()
    again = start_agent()
    assert (again.networks(), again.list()) == before
    assert_agreement(again)
    assert again.allocate("more", ports=["80"]).ports[0].host_port == 49154
