"""Ranges that keep their numbers: one element of an interval map, for any number of ports."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from echo_server import ask
from firewall_stand import IP, IPV6, NETWORK, Stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6
from moorage.kernel.linux import generation, ruleset
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables
from moorage.kernel.protocol import Element
from moorage.model.elements import mapping_elements, network_elements
from moorage.values import ANY, Mapping

pytestmark = pytest.mark.system

FIRST, LAST = 8000, 8999
RUN = f"{FIRST}-{LAST}"
ENDS = (FIRST, 8500, LAST)


def run(proto: str = "tcp", host_ip: str = ANY, first: int = FIRST, last: int = LAST) -> Mapping:
    return Mapping(proto, host_ip, first, first, last - first + 1, dual=host_ip == ANY)


def former_rules() -> str:
    """The table of the version that had an element for each port."""
    return "\n".join(
        line for line in ruleset.rules().splitlines() if "run4_" not in line and "run6_" not in line
    )


def singles(mapping: Mapping) -> list[Element]:
    """A range as that version published it."""
    shifted = [Mapping(mapping.proto, ANY, port, port, 1, dual=True) for port in range(FIRST, LAST + 1)]
    return [element for each in shifted for element in mapping_elements(each, IP, IPV6)]


@pytest.fixture
def other(at: Stand) -> Iterator[Nftables]:
    """Somebody else who changes nftables."""
    made = at.lab.call("host", Nftables)
    yield made
    made.close()


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_every_port_of_a_range_answers(at: Stand, proto: str) -> None:
    """First, middle and last lead to the same port, seen as themselves; their neighbours lead nowhere."""
    for port in (FIRST - 1, *ENDS, LAST + 1):
        at.lab.echo_server("web", proto, port)
    at.publish(run(proto))
    for port in ENDS:
        assert at.lab.connect("outside", (HOST, port), proto)[:3:2] == (OUTSIDE, "web")
        assert at.lab.connect("outside", (HOST6, port), proto)[:3:2] == (OUTSIDE6, "web")
        assert at.lab.connect("host", ("127.0.0.1", port), proto)[:3:2] == ("10.0.42.1", "web")
        assert at.lab.connect("web", (HOST, port), proto)[:3:2] == ("10.0.42.1", "web")
    for port in (FIRST - 1, LAST + 1):
        assert not at.lab.can_reach("outside", (HOST, port), proto, timeout=0.3)


def test_a_range_on_one_address_answers_there_alone(at: Stand) -> None:
    """Ranges on single addresses of either family are reached on those, and not on others."""
    at.lab.echo_server("web", "tcp", LAST)
    at.publish(run(host_ip=HOST))
    at.publish(run(host_ip=HOST6))
    assert at.lab.connect("outside", (HOST, LAST)).peer == OUTSIDE
    assert at.lab.connect("outside", (HOST6, LAST)).peer == OUTSIDE6
    assert not at.lab.can_reach("host", ("127.0.0.1", LAST), timeout=0.3)


def test_unpublishing_a_range_ends_its_connections_alone(at: Stand) -> None:
    """Connections through first and last port end; one through the port after it goes on."""
    for port in (FIRST, LAST, LAST + 1):
        at.lab.echo_server("web", "tcp", port)
    at.publish(run())
    at.publish(Mapping("tcp", ANY, LAST + 1, LAST + 1, dual=True))
    ended = [at.lab.open("outside", (HOST, port)) for port in (FIRST, LAST)]
    kept = at.lab.open("outside", (HOST, LAST + 1))
    assert [ask(each).server for each in (*ended, kept)] == ["web"] * 3
    at.unpublish(run())
    for each in ended:
        with pytest.raises(ConnectionResetError):
            ask(each)
    assert ask(kept).server == "web"


DAMAGE = {
    "deleted": f"delete element inet moorage run4_any {{ tcp . {RUN} }}",
    "shortened": f"delete element inet moorage run4_any {{ tcp . {RUN} }}\n"
    f"add element inet moorage run4_any {{ tcp . {FIRST}-{LAST - 1} : {IP} }}",
    "shifted": f"delete element inet moorage run4_any {{ tcp . {RUN} }}\n"
    f"add element inet moorage run4_any {{ tcp . {FIRST + 5}-{LAST + 5} : {IP} }}",
    "led elsewhere": f"delete element inet moorage run4_any {{ tcp . {RUN} }}\n"
    f"add element inet moorage run4_any {{ tcp . {RUN} : 10.9.9.9 }}",
    "covered": "add element inet moorage run4_any { tcp . 7000-20000 : 10.9.9.9 }",
    "covered with another": "add element inet moorage run4_any { tcp . 10000-10009 : 10.9.9.9 }\n"
    "add element inet moorage run4_any { tcp . 7000-20000 : 10.9.9.9 }",
    "map flushed": "flush map inet moorage run4_any",
    "one port twice": f"add element inet moorage pub4_any {{ tcp . {LAST} : 10.9.9.9 . 1 }}",
}
"""What somebody may do to the element of a range."""


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_range_is_put_right(at: Stand, other: Nftables, damage: str) -> None:
    """Whatever others make of the interval, one install says it and puts it right, also where intervals overlap."""
    wanted = network_elements(NETWORK) | at.elements(run())
    at.firewall.install(wanted)
    at.lab.echo_server("web", "tcp", LAST)
    kept = at.lab.open("outside", (HOST, LAST))
    ask(kept)
    other.run(damage)
    assert at.firewall.changed()
    assert at.lab.call("host", at.firewall.install, wanted)
    assert at.firewall.install(wanted) == []
    assert at.lab.connect("outside", (HOST, LAST)).server == "web"
    assert ask(kept).server == "web"


def test_ranges_take_the_place_of_others(at: Stand) -> None:
    """A range that overlaps one that goes takes its place in the same transaction, by any change."""
    at.firewall.change(at.elements(run()), [])
    at.firewall.change(at.elements(run(first=8500, last=9999)), at.elements(run()))
    at.firewall.change(at.elements(run(first=8000, last=19999)), at.elements(run(first=8500, last=9999)))
    assert at.firewall.install(network_elements(NETWORK) | at.elements(run(first=8000, last=19999))) == []


def test_the_ports_of_a_former_version_become_one_element(at: Stand, other: Nftables) -> None:
    """An agent that finds an element for each port replaces all by one, in one transaction, breaking nothing."""
    at.lab.echo_server("web", "tcp", LAST)
    wanted = network_elements(NETWORK) | at.elements(run())
    former = ruleset.change([*network_elements(NETWORK), *singles(run())], ())
    other.run(f"delete table inet moorage\n{former_rules()}\n{''.join(former)}")
    kept = at.lab.open("outside", (HOST, LAST))
    assert ask(kept).server == "web"
    before = at.lab.call("host", current_generation)
    successor = at.lab.call("host", LinuxFirewall, loopback="kernel")
    at.lab.call("host", successor.install, wanted)
    assert at.lab.call("host", current_generation) == before + 2  # one transaction for each of our tables
    assert successor.install(wanted) == []
    successor.close()
    assert ask(kept).server == "web"
    assert at.lab.connect("outside", (HOST6, LAST)).server == "web"


def current_generation() -> int:
    with Netlink() as netlink:
        return generation.read(netlink)
