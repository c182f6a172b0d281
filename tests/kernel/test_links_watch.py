from __future__ import annotations

import threading

import pytest

from host_links import NETWORK, HostLinks
from moorage.values import Interface

pytestmark = pytest.mark.system


class Woken:
    """Counts as `wake`, and waits for the next call with a deadline."""

    def __init__(self) -> None:
        self._event = threading.Event()

    def __call__(self) -> None:
        self._event.set()

    def within(self, seconds: float) -> bool:
        return self._event.wait(seconds)

    def forget(self) -> None:
        self._event.clear()


@pytest.fixture
def woken(links: HostLinks) -> Woken:
    links.ensure_network(NETWORK)
    made = Woken()
    links.watch(made, print)
    return made


@pytest.mark.parametrize(
    "change",
    [
        "link add br9 type bridge",
        "link set moorage0 mtu 1400",
        "address add 10.3.0.1/24 dev moorage0",
        "address del fd42::1/64 dev moorage0",
        "route add 10.4.0.0/24 via 10.77.0.2",
        "-6 route add fd04::/64 via fd77::2",
    ],
)
def test_changes_on_the_host_wake(links: HostLinks, woken: Woken, change: str) -> None:
    """A change to any link, address or route of either family wakes."""
    links.ip(*change.split())
    assert woken.within(5)


def test_forwarding_switched_off_wakes(links: HostLinks, woken: Woken) -> None:
    """The kernel tells of forwarding, so that it need not be asked."""
    links.lab.run("host", ["sysctl", "-qw", "net.ipv4.ip_forward=0"])
    assert woken.within(5)


def test_changes_inside_a_container_wake_and_are_repaired(links: HostLinks, woken: Woken) -> None:
    """An address removed by a container's root wakes us, and the next audit looks into that container."""
    web = links.attached("web", 2)
    links.reconcile([NETWORK], [web])
    settle(links, web, woken)
    links.ip("address", "del", "10.0.42.2/24", "dev", "eth0", inside="web")
    repaired: list[str] = []
    while not repaired and woken.within(5):
        woken.forget()
        repaired += links.reconcile([NETWORK], [web]).repaired
    assert "web: eth0: address 10.0.42.2/24 added" in repaired


def settle(links: HostLinks, web: Interface, woken: Woken) -> None:
    """Wait for the last event of an attach: the kernel is done with the container's link-local address."""
    while "tentative" in links.ip("address", inside="web"):
        woken.within(5)
        woken.forget()
        assert links.reconcile([NETWORK], [web]).repaired == []


def test_an_audit_that_repairs_nothing_wakes_nobody(links: HostLinks, woken: Woken) -> None:
    """Watching and auditing do not keep each other awake, once the kernel has finished what was begun."""
    for _ in range(50):
        woken.forget()
        assert links.reconcile([NETWORK], []).repaired == []
        if not woken.within(0.1):
            return
    pytest.fail("every audit woke its watch")


def test_nothing_wakes_after_close(links: HostLinks, woken: Woken) -> None:
    """Closing ends the thread; it may be done twice, and links stay as they are."""
    links.close()
    woken.forget()
    links.ip("link", "add", "br9", "type", "bridge")
    assert not woken.within(0)
    assert not [thread for thread in threading.enumerate() if thread.name == "moorage-links-watch"]
    assert "moorage0" in links.ip("link")
