from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import pytest

from agents import until
from host_links import NETWORK, HostLinks
from lab import Lab
from moorage.kernel.linux import rtdump
from moorage.kernel.linux.container import Container
from moorage.kernel.linux.names import port_name
from moorage.kernel.linux.watch import Watch
from moorage.values import Interface, Network

pytestmark = pytest.mark.system

MANY = 15_000
READ = 12_000
"""Messages of the kernel that a look may read for one container with all there is."""
OTHER = [
    "link add br9 type bridge",
    "link set br9 up",
    "addr add 10.99.0.1/24 dev br9",
    "addr add fd99::1/64 dev br9",
]
OURS = 0x6D000002  # the table of the link with index 2


def spread(lines: Callable[[int, int, int], str], many: int = MANY) -> list[str]:
    return [lines(number >> 16, number >> 8 & 255, number & 255) for number in range(many)]


CROWDS = {
    "routes": spread(lambda a, b, c: f"route add 11.{a}.{b}.{c}/32 dev eth0"),
    "routes by another link": OTHER + spread(lambda a, b, c: f"route add 11.{a}.{b}.{c}/32 dev br9"),
    "default routes": spread(
        lambda _a, b, c: f"route add 0.0.0.0/0 via 10.0.42.9 metric {b * 256 + c + 1}", 3_000
    ),
    "IPv6 routes": spread(lambda a, b, c: f"route add fd11::{a:x}:{b:x}:{c:x}/128 dev eth0"),
    "routes in a table of ours": OTHER
    + spread(lambda a, b, c: f"route add 11.{a}.{b}.{c}/32 dev br9 table {OURS}")
    + ["route add 10.98.0.0/16 dev br9"],
    "addresses": spread(lambda a, b, c: f"addr add 11.{a}.{b}.{c}/32 dev eth0", 1_000)
    + spread(lambda a, b, c: f"addr add fd11::{a:x}:{b:x}:{c:x}/128 dev eth0 nodad", 1_000),
    "rules": OTHER
    + spread(lambda a, b, c: f"rule add from 11.{a}.{b}.{c} table {OURS} protocol 109 pref 32765", 2_000)
    + ["route add 10.98.0.0/16 dev br9"],
    "links": [f"link add many{number} type bridge" for number in range(300)],
}
KNOWN = {"routes", "default routes", "addresses", "links"}
"""Where the container can be put right all the same."""


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """A one for each message of the kernel that was read."""
    seen: list[int] = []
    messages = rtdump.messages

    def counted(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
        for each in messages(data):
            seen.append(1)
            yield each

    monkeypatch.setattr(rtdump, "messages", counted)
    return seen  # type: ignore[return-value]


@pytest.mark.parametrize("crowd", CROWDS)
def test_a_crowded_container_holds_up_nobody(links: HostLinks, crowd: str, read: list[int]) -> None:
    """Of a container with any number of routes, addresses, rules and links little is read, and others are put right.

    What cannot be known then is named.
    """
    links.ensure_network(NETWORK)
    web, peer = links.attached("web", 2), links.attached("peer", 3)
    links.lab.run("web", ["ip", "-batch", "-"], input="\n".join(CROWDS[crowd]))
    for _ in range(2):
        links.ip("link", "set", port_name("peer"), "down")
        read.clear()
        found = links.reconcile([NETWORK], [web, peer])
        assert len(read) < READ
        assert "UP" in links.ip("-br", "link", "show", port_name("peer"))
    unknown = [said for said in found.warnings if "veth of web" in said]
    assert (unknown == []) == (crowd in KNOWN), found.warnings
    read.clear()
    links.attach(links.interface("third", 4), NETWORK)
    assert len(read) < 500
    links.detach("web")


def test_one_that_changes_too_fast_has_not_all_looked_into(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where more changes than can be heard, all are looked into, and again only after a rest; none is forgotten."""
    times = [0.0]
    links = HostLinks(lab, lambda: times[0])
    looked: list[str] = []
    settle = Container.settle

    def counted(self: Container, interface: Interface, network: Network) -> list[str]:
        looked.append(interface.id)
        return settle(self, interface, network)

    monkeypatch.setattr(Container, "settle", counted)
    said = [True]
    changed = Watch.changed

    def overrun(self: Watch, *, perhaps_any: bool = True) -> Collection[int] | None:
        self._overrun = self._overrun or bool(said and said.pop())
        return changed(self, perhaps_any=perhaps_any) if self._overrun else set()

    monkeypatch.setattr(Watch, "changed", overrun)
    try:
        links.ensure_network(NETWORK)
        both = [links.attached("web", 2), links.attached("peer", 3)]
        until(lambda: not (is_trying(links, "web") or is_trying(links, "peer")))  # it says so when it is done
        links.watch(lambda: None, print)
        for _ in range(5):
            links.reconcile([NETWORK], both)
        looked.clear()
        for _ in range(5):
            said.append(True)
            found = links.reconcile([NETWORK], both)
        assert looked == []
        assert found.rest is not None
        times[0] += 60
        links.reconcile([NETWORK], both)
        assert sorted(looked) == ["peer", "web"]
    finally:
        links.stop()


def is_trying(links: HostLinks, name: str) -> bool:
    """Whether that container sees yet if an address of its own is somebody else's."""
    return "tentative" in links.lab.run(name, ["ip", "-6", "address"])


@pytest.mark.parametrize("crowd", ["routes", "addresses"])
def test_a_crowded_container_is_put_right(links: HostLinks, crowd: str) -> None:
    """What is missing in one with many routes or addresses is found missing, and made."""
    links.ensure_network(NETWORK)
    web: Interface = links.attached("web", 2)
    links.lab.run("web", ["ip", "-batch", "-"], input="\n".join(CROWDS[crowd]))
    links.ip("route", "del", "default", inside="web")
    links.ip("-6", "route", "del", "default", inside="web")
    assert len(links.reconcile([NETWORK], [web]).repaired) == 2
    links.ip("address", "del", "fd42::2/64", "dev", "eth0", inside="web")
    repaired = links.reconcile([NETWORK], [web]).repaired
    assert [said for said in repaired if "address fd42::2/64 added" in said]
    assert links.lab.connect("outside", ("fd42::2", 80)).server == "web"
