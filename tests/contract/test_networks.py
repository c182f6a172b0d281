"""Networks over the wire: subnets and gateways, names and bridges, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from contract.wire import Wire

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    ("subnet", "more", "network", "gateway"),
    [
        ("172.16.42.1/24", {}, "172.16.42.0/24", "172.16.42.1"),
        ("172.16.42.0/24", {}, "172.16.42.0/24", "172.16.42.1"),
        ("172.16.42.77/24", {}, "172.16.42.0/24", "172.16.42.77"),
        ("172.16.42.0/24", {"gateway": "172.16.42.254"}, "172.16.42.0/24", "172.16.42.254"),
        ("10.0.43.0/31", {}, "10.0.43.0/31", "10.0.43.0"),
        ("10.0.43.1/31", {}, "10.0.43.0/31", "10.0.43.1"),
        ("10.0.43.0/31", {"gateway": "10.0.43.1"}, "10.0.43.0/31", "10.0.43.1"),
    ],
)
def test_a_subnet_and_its_gateway(
    wire: Wire, subnet: str, more: dict[str, str], network: str, gateway: str
) -> None:
    """The host part of a subnet is the gateway, without one the first address is, unless it is named."""
    made = wire.call("create_network", name="back", subnet=subnet, **more)
    assert (made["subnet"], made["gateway"]) == (network, gateway)
    assert wire.call("allocate", id="web", network="back")["gateway"] == gateway


def test_a_31_has_one_address_beside_its_gateway(wire: Wire) -> None:
    """A /31 gives its other address once."""
    wire.call("create_network", name="pair", subnet="10.0.43.0/31")
    assert wire.call("allocate", id="web", network="pair")["ip"] == "10.0.43.1"
    assert wire.refused("allocate", id="db", network="pair").startswith("addresses_exhausted: ")


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({"subnet": "10.0.43.1/32"}, "invalid", "10.0.43.1/32"),
        ({"subnet": "10.0.43.255/24"}, "invalid", "10.0.43.255"),
        ({"subnet": "10.0.43.0"}, "invalid", "10.0.43.0"),
        ({"subnet": "10.0.43.0/24", "gateway": "10.0.44.1"}, "invalid", "10.0.44.1"),
        ({"subnet": "10.0.43.0/24", "gateway": "10.0.43.0"}, "invalid", "10.0.43.0"),
        ({"gateway": "10.0.43.1"}, "invalid", "subnet"),
        ({"subnet": "127.0.0.0/24"}, "invalid", "127.0.0.0"),
        ({"subnet": "224.0.0.0/24"}, "invalid", "224.0.0.0"),
        ({"subnet": "fd43::/64"}, "invalid", "fd43::/64"),
        ({"subnet": "10.0.42.128/25"}, "address_in_use", "default"),
        ({"subnet": "10.0.0.0/16"}, "address_in_use", "default"),
        ({"subnet": "10.0.43.0/24", "bridge": "moorage0"}, "exists", "default"),
        ({"subnet": "10.0.43.0/24", "bridge": "b" * 16}, "invalid", "bridge"),
        ({"subnet": "10.0.43.0/24", "bridge": "a/b"}, "invalid", "a/b"),
        ({"subnet": "10.0.43.0/24", "mtu": 67}, "invalid", "mtu"),
        ({"subnet": "10.0.43.0/24", "mtu": "1500"}, "invalid", "mtu"),
        ({"subnet": "10.0.43.0/24", "internal": 1}, "invalid", "internal"),
        ({"subnet": "10.0.43.0/24", "driver": "overlay"}, "invalid", "driver"),
        ({"name": "default"}, "exists", "default"),
        ({"name": "a" * 64}, "invalid", "name"),
        ({"name": ".a"}, "invalid", ".a"),
    ],
)
def test_a_refused_network_changes_nothing(wire: Wire, asked: dict[str, Any], code: str, named: str) -> None:
    """A refusal has its code and names what it is about; there is no network more."""
    before = wire.call("networks"), len(wire.call("tree"))
    text = wire.refused("create_network", **({"name": "back"} | asked))
    assert text.startswith(f"{code}: ")
    assert named in text
    assert (wire.call("networks"), len(wire.call("tree"))) == before


def test_a_network_is_chosen_a_free_subnet(wire: Wire) -> None:
    """Without a subnet each network gets one that overlaps no other, and a bridge whose name fits 15 bytes."""
    names = ["n" * 63, "n" * 62 + "x", "a.b_c-d"]
    made = [wire.call("create_network", name=name) for name in names]
    assert [each["name"] for each in made] == names
    assert len({each["subnet"] for each in made} | {"10.0.42.0/24"}) == 4
    assert len({each["bridge"] for each in made}) == 3
    assert all(len(each["bridge"].encode()) <= 15 for each in made)


def test_a_guard_is_given_back_where_it_is_said(wire: Wire) -> None:
    """`guard` is one of two words, and in the answer only where it is not the one that is unsaid."""
    asked = {"name": "back", "subnet": "10.0.43.0/24"}
    for guard, given in (("interface", None), ("network", "network")):
        assert wire.call("create_network", **asked, guard=guard).get("guard") == given
        listed = {each["name"]: each for each in wire.call("networks")}
        assert listed["back"].get("guard") == given
        wire.call("remove_network", name="back")
    assert wire.refused("create_network", **asked, guard="none").startswith("invalid: ")


def test_a_network_with_interfaces_stays(wire: Wire) -> None:
    """`remove_network` is refused with `exists` while interfaces remain, and done once they are gone."""
    wire.call("create_network", name="back", subnet="10.0.43.0/24")
    wire.call("allocate", id="web", network="back")
    text = wire.refused("remove_network", name="back")
    assert text.startswith("exists: ")
    assert wire.call("inspect", id="web")["network"] == "back"
    wire.call("release", id="web")
    assert wire.call("remove_network", name="back") == {"removed": True}
    assert wire.refused("allocate", id="web", network="back").startswith("not_found: ")
    assert "ip:back" not in [each["name"] for each in wire.call("tree")]


def test_a_network_comes_back_under_its_name(wire: Wire) -> None:
    """A removed network can be made anew with another subnet, and gives addresses of that."""
    for third in (43, 44):
        wire.call("create_network", name="back", subnet=f"10.0.{third}.0/24")
        assert wire.call("allocate", id="web", network="back")["ip"] == f"10.0.{third}.2"
        wire.call("release", id="web")
        wire.call("remove_network", name="back")


def test_an_ipv6_gateway_of_either_form(linux: Wire) -> None:
    """An IPv6 subnet names its gateway by its host part, by `gateway6`, or leaves it the first address."""
    for subnet6, more, gateway6 in (
        ("fd43::/64", {}, "fd43::1"),
        ("fd43::7/64", {}, "fd43::7"),
        ("fd43::/64", {"gateway6": "fd43::ffff"}, "fd43::ffff"),
    ):
        asked = {"name": "dual", "subnet": "10.0.43.0/24", "subnet6": subnet6, **more}
        assert linux.call("create_network", **asked)["gateway6"] == gateway6
        linux.call("remove_network", name="dual")


def test_a_subnet_of_the_host_is_in_use(linux: Wire) -> None:
    """A subnet that overlaps what the host has is `address_in_use`, naming the link that has it."""
    for key, subnet in (("subnet", "10.77.0.0/25"), ("subnet6", "fd77::/64")):
        text = linux.refused("create_network", name="back", **{key: subnet})
        assert text.startswith("address_in_use: ")
        assert "eth0" in text
