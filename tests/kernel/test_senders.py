"""Containers that were found to send from their own subnet, and are not looked for again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from echo_server import ask
from firewall_stand import IP, IPV6, NETWORK, Stand, stand
from lab import HOST, Lab
from moorage.kernel.linux import ruleset
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.nftables import Nftables, NftablesError
from moorage.kernel.protocol import Element
from moorage.model.elements import network_elements
from moorage.values import ANY, Mapping

pytestmark = pytest.mark.system

WANTED = network_elements(NETWORK)
SUBNETS = [
    Element("net4if", ("10.0.42.0/24", "moorage0")),
    Element("net6if", ("fd00:42::/64", "moorage0")),
]
FAMILIES = [(IP, "10.0.42.1", "senders4"), (IPV6, "fd00:42::1", "senders6")]
ROOM = 65_535


@pytest.fixture
def at() -> Iterator[Stand]:
    with Lab() as lab:
        made = stand(lab)
        lab.echo_server("host", "tcp", 81)
        yield made
        made.firewall.close()


@pytest.fixture
def other(at: Stand) -> Iterator[Nftables]:
    """Somebody else who looks at nftables."""
    made = at.lab.call("host", Nftables)
    yield made
    made.close()


def remembered(other: Nftables, container: str, address: str) -> bool:
    try:
        other.run(f'get element inet moorage {container} {{ {address} . "moorage0" }}')
    except NftablesError:
        return False
    return True


def reaches_host(at: Stand, gateway: str) -> bool:
    return at.lab.can_reach("web", (gateway, 81), timeout=0.3)


@pytest.mark.parametrize(("ip", "gateway", "container"), FAMILIES)
def test_a_sender_is_remembered(at: Stand, other: Nftables, ip: str, gateway: str, container: str) -> None:
    """Who sends from his own subnet is remembered with his bridge, which is no damage and no change."""
    at.firewall.install(WANTED)
    assert not remembered(other, container, ip)
    assert reaches_host(at, gateway)
    assert remembered(other, container, ip)
    assert reaches_host(at, gateway)
    assert not at.lab.call("host", at.firewall.changed)
    assert at.firewall.install(WANTED) == []


@pytest.mark.parametrize(("ip", "gateway", "container"), FAMILIES)
def test_nobody_is_remembered_longer_than_his_subnet(
    at: Stand, other: Nftables, ip: str, gateway: str, container: str
) -> None:
    """A container whose subnet is taken away sends nothing from that moment on, until it is back."""
    assert reaches_host(at, gateway)
    at.lab.call("host", at.firewall.change, [], SUBNETS)
    assert not remembered(other, container, ip)
    assert not reaches_host(at, gateway)
    at.lab.call("host", at.firewall.change, SUBNETS, [])
    assert reaches_host(at, gateway)


def test_who_sends_from_elsewhere_is_not_remembered(at: Stand, other: Nftables) -> None:
    """An address of another subnet stays unheard, also when it comes from somebody who is remembered."""
    assert reaches_host(at, "10.0.42.1")
    at.lab.run("web", ["ip", "address", "add", "10.9.9.9/32", "dev", "eth0"])
    at.lab.run("host", ["ip", "route", "add", "10.9.9.9", "dev", "moorage0"])
    sender = at.lab.socket("web")
    sender.bind(("10.9.9.9", 0))
    sender.settimeout(0.3)
    with pytest.raises(TimeoutError):
        sender.connect(("10.0.42.1", 81))
    assert not remembered(other, "senders4", "10.9.9.9")


def test_a_full_memory_stops_nobody(at: Stand, other: Nftables) -> None:
    """Where there is no room for another sender, he is looked for each time, and passes."""
    pairs = [f'10.8.{n >> 8}.{n & 255} . "moorage0"' for n in range(ROOM)]
    for first in range(0, ROOM, 1_000):
        other.run(f"add element inet moorage senders4 {{ {', '.join(pairs[first : first + 1_000])} }}")
    assert reaches_host(at, "10.0.42.1")
    assert not remembered(other, "senders4", IP)


def test_a_table_that_remembers_nobody_makes_room(at: Stand, other: Nftables) -> None:
    """A former version's table is replaced in one transaction, and no connection breaks."""
    published = at.elements(Mapping("tcp", ANY, 8080, 80, dual=True))
    at.lab.echo_server("web", "tcp", 80)
    former = "\n".join(line for line in ruleset.rules().splitlines() if "senders" not in line)
    commands = "".join(ruleset.change(WANTED | published, ()))
    other.run(f"delete table inet moorage\n{former}\n{commands}")
    kept = at.lab.open("outside", (HOST, 8080))
    assert ask(kept).server == "web"
    successor = at.lab.call("host", LinuxFirewall, loopback="kernel")
    assert "set senders4 was missing" in at.lab.call("host", successor.install, WANTED | published)
    assert successor.install(WANTED | published) == []
    successor.close()
    assert ask(kept).server == "web"
    assert at.lab.connect("host", ("127.0.0.1", 8080)).server == "web"
