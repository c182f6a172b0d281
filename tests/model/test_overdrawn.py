"""Who is said to have his share of connections."""

from __future__ import annotations

from moorage.model.overdrawn import Overdrawn, Place
from moorage.values import Interface, Network


def interface(name: str, ip: str, mac: str, ipv6: str | None = None) -> Interface:
    return Interface(
        id=name, network="n", ip=ip, prefix=24, gateway="10.0.42.1", mac=mac, created="", ipv6=ipv6
    )


WEB = interface("web", "10.0.42.2", "02:42:0A:00:2a:02", "fd42::2")
PEER = interface("peer", "10.0.42.3", "02:42:0a:00:2a:03")
NETWORK = Network(name="n", subnet="10.0.42.0/24", gateway="10.0.42.1", bridge="mg-n", internal=False)


def test_an_interface_is_known_by_its_bridge_and_its_mac() -> None:
    """Whichever way the MAC is written; one of another bridge, or of nobody, is not named."""
    told = Overdrawn(frozenset({("mg-n", "02:42:0a:00:2a:02"), ("mg-x", "02:42:0a:00:2a:03")}))
    assert told.met([WEB, PEER], [NETWORK]) == ["web"]
    assert Overdrawn().met([WEB, PEER], [NETWORK]) == []
    fast = Overdrawn(hurried=told.interfaces)
    assert (fast.met([WEB, PEER], [NETWORK]), fast.hurrying([WEB, PEER], [NETWORK])) == ([], ["web"])


def test_a_place_is_told_of_whose_address_begins_connections_to_it() -> None:
    """Of either family, in order; sources that are nobody's are not named."""
    dns = Place("10.0.42.2", "192.0.2.53", "udp", 53)
    dns6 = Place("fd42::2", "2001:db8::53", "udp", 53)
    told = Overdrawn(places=frozenset({dns6, dns, Place("10.0.42.9", "192.0.2.53", "udp", 53)}))
    assert told.crowding([WEB, PEER]) == {"web": [dns, dns6]}
    assert [str(each) for each in (dns, dns6)] == ["192.0.2.53:53/udp", "[2001:db8::53]:53/udp"]
