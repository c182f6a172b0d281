"""Networks on bridges that were there before, over the wire."""

from __future__ import annotations

import pytest

from agents import AgentProcess
from contract.wire import Wire
from lab import Lab

pytestmark = pytest.mark.system


@pytest.fixture
def lab(linux_agent: AgentProcess, linux: Wire) -> Lab:
    """The lab of the agent that `linux` is connected to."""
    return linux_agent.lab


def make(lab: Lab, bridge: str, *addresses: str) -> None:
    lab.run("host", ["ip", "link", "add", bridge, "type", "bridge"])
    for address in addresses:
        lab.run("host", ["ip", "address", "add", address, "dev", bridge])


def addresses(lab: Lab, bridge: str) -> list[str]:
    words = lab.run("host", ["ip", "-brief", "address", "show", "dev", bridge]).split()
    return [word for word in words[2:] if not word.startswith("fe80:")]


@pytest.mark.parametrize(
    ("address", "named"), [("10.66.0.9/32", "10.66.0.9/32"), ("10.66.0.0/24", "10.66.0.0")]
)
def test_a_bridge_whose_address_is_no_gateway_is_refused(
    lab: Lab, linux: Wire, address: str, named: str
) -> None:
    """A /32, or a network's own address, is invalid also where a bridge has it, which stays as it is."""
    bridge = f"br{address[-2:]}"
    make(lab, bridge, address)
    text = linux.refused("create_network", name="back", bridge=bridge)
    assert text.startswith("invalid: ")
    assert named in text
    assert addresses(lab, bridge) == [address]


def test_a_bridge_keeps_the_subnets_it_has(lab: Lab, linux: Wire) -> None:
    """Subnets of either family that the bridge has already are not in their own way, and stay with it."""
    make(lab, "br-dual", "10.67.0.1/24", "fd67::1/64")
    asked = {"bridge": "br-dual", "subnet": "10.67.0.1/24", "subnet6": "fd67::1/64"}
    made = linux.call("create_network", name="back", **asked)
    assert (made["gateway"], made["gateway6"]) == ("10.67.0.1", "fd67::1")
    linux.call("remove_network", name="back")
    assert addresses(lab, "br-dual") == ["10.67.0.1/24", "fd67::1/64"]


def test_a_bridge_without_addresses_is_left_without(lab: Lab, linux: Wire) -> None:
    """What the agent gave a bridge that had no address is taken away with the network."""
    make(lab, "br-bare")
    made = linux.call(
        "create_network", name="back", bridge="br-bare", subnet="10.68.0.0/24", subnet6="fd68::/64"
    )
    assert {"10.68.0.1/24", "fd68::1/64"} == set(addresses(lab, "br-bare"))
    linux.call("remove_network", name="back")
    assert addresses(lab, "br-bare") == []
    assert linux.call("create_network", name="back", **{key: made[key] for key in ("bridge", "subnet")})


def test_a_subnet_of_another_network_is_in_use(lab: Lab, linux: Wire) -> None:
    """A bridge whose subnet overlaps that of a network is refused, naming it."""
    make(lab, "br-over", "10.0.42.9/25")
    text = linux.refused("create_network", name="back", bridge="br-over")
    assert text.startswith("address_in_use: ")
    assert "default" in text
    lab.run("host", ["ip", "link", "del", "br-over"])


def test_a_subnet_of_another_link_is_in_use(lab: Lab, linux: Wire) -> None:
    """A bridge whose subnet the host has on another link as well is refused, naming that link."""
    make(lab, "br-over", "10.77.0.9/24")
    text = linux.refused("create_network", name="back", bridge="br-over")
    assert text.startswith("address_in_use: ")
    assert "eth0" in text
    lab.run("host", ["ip", "link", "del", "br-over"])
