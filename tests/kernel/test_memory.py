import threading

import pytest

from moorage import errors
from moorage.kernel.memory import MemoryKernel
from moorage.kernel.protocol import Element, Firewall, Flow, Forwarded, Kernel, Links, Occupied
from moorage.values import Interface, Network

NETWORK = Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1")
WEB = Interface("web", "default", "10.0.42.2", 24, "10.0.42.1", "02:00:00:00:00:01", "2026-01-01T00:00:00Z")


def published(port: int, to: int = 80) -> Element:
    return Element("pub4_any", ("tcp", port), ("10.0.42.2", to))


@pytest.fixture
def kernel() -> MemoryKernel:
    return MemoryKernel(ipv6=True, boot_id="first")


def test_it_is_a_kernel() -> None:
    """It satisfies the protocols that the real kernel does; mypy holds these assignments to it."""
    kernel: Kernel = MemoryKernel()
    links: Links = kernel.open_links({}, loopback="kernel")
    firewall: Firewall = kernel.open_firewall(loopback="kernel")
    assert not kernel.real
    links.close()
    firewall.close()


def test_install_says_what_was_not_so(kernel: MemoryKernel) -> None:
    """The first install finds no table, the next ones each difference, and then nothing."""
    firewall = kernel.open_firewall(loopback="kernel")
    assert firewall.install([published(1)]) == ["table inet moorage was missing"]
    assert firewall.install([published(1)]) == []
    assert firewall.install([published(1, 81), published(2)]) == [
        "element pub4_any tcp . 1 : 10.0.42.2 . 81 had another value",
        "element pub4_any tcp . 2 : 10.0.42.2 . 80 was missing",
    ]
    assert firewall.install([]) == [
        "element pub4_any tcp . 1 : 10.0.42.2 . 81 was not ours",
        "element pub4_any tcp . 2 : 10.0.42.2 . 80 was not ours",
    ]


def test_change_replaces_and_forgives(kernel: MemoryKernel) -> None:
    """Adding replaces another value of the key; removing what is absent is no error."""
    firewall = kernel.open_firewall(loopback="kernel")
    firewall.change([published(1)], [published(7)])
    firewall.change([published(1, 81)], [])
    assert kernel.elements == {published(1, 81)}
    firewall.change([], [published(1)])
    assert kernel.elements == frozenset()


def test_what_one_agent_made_the_next_one_finds(kernel: MemoryKernel) -> None:
    """Closing leaves bridges and elements; removing takes them."""
    firewall, links = (
        kernel.open_firewall(loopback="kernel"),
        kernel.open_links({}, loopback="kernel"),
    )
    firewall.install([published(1)])
    links.ensure_network(NETWORK)
    firewall.close()
    links.close()
    again = kernel.open_firewall(loopback="kernel")
    assert again.install([published(1)]) == []
    assert kernel.open_links({}, loopback="kernel").ensure_network(NETWORK) == []
    again.remove()
    assert again.install([]) == ["table inet moorage was missing"]


def test_a_disturbance_wakes_watchers_and_is_put_right(kernel: MemoryKernel) -> None:
    """Losing everything wakes whoever watches, is a change once, and is repaired; close ends it."""
    firewall, links = (
        kernel.open_firewall(loopback="kernel"),
        kernel.open_links({}, loopback="kernel"),
    )
    firewall.install([published(1)])
    links.ensure_network(NETWORK)
    woken = threading.Semaphore(0)
    firewall.watch(woken.release, print, print)
    links.watch(woken.release, print)
    assert not firewall.changed()
    kernel.disturb()
    assert [woken.acquire(blocking=False) for _ in range(3)] == [True, True, False]
    assert [firewall.changed(), firewall.changed()] == [True, False]
    assert firewall.install([published(1)]) == ["table inet moorage was missing"]
    assert links.reconcile([NETWORK], []).repaired == ["bridge moorage0 was missing"]
    firewall.close()
    links.close()
    kernel.disturb()
    assert not woken.acquire(blocking=False)


def test_bridges_are_held_and_removed(kernel: MemoryKernel) -> None:
    """A network's bridge has its gateway's address until it is removed, and removing it again is no error."""
    links = kernel.open_links({}, loopback="kernel")
    assert links.find_bridge("moorage0") is None
    assert links.ensure_network(NETWORK) == ["bridge moorage0 was missing"]
    assert links.find_bridge("moorage0") == (["10.0.42.1/24"], 1500, True)
    for _ in range(2):
        links.remove_network(NETWORK)
        assert links.find_bridge("moorage0") is None


def test_nothing_can_be_attached(kernel: MemoryKernel) -> None:
    """Without namespaces, finding one and attaching are unsupported, and detaching changes nothing."""
    links = kernel.open_links({}, loopback="kernel")
    links.detach("web")
    with pytest.raises(errors.Refused, match="no network namespaces") as refused:
        links.find_namespace("pid:1")
    assert refused.value.code is errors.Code.UNSUPPORTED
    with pytest.raises(errors.Refused, match="no network namespaces"):
        links.attach(WEB, NETWORK)


def test_what_a_test_says_of_the_host_is_told() -> None:
    """Boot, IPv6 and what is occupied can be chosen."""
    route = Occupied("10.0.0.0/8", "route 10.0.0.0/8 dev eth0")
    kernel = MemoryKernel(ipv6=False, boot_id="second", occupied=[route])
    links = kernel.open_links({}, loopback="kernel")
    assert (kernel.boot_id(), links.host_has_ipv6(), links.occupied()) == ("second", False, [route])


def test_reserved_ports_flows_and_forwarding_are_remembered(kernel: MemoryKernel) -> None:
    """Ports are reserved on top of the host's own; flushed flows and forwarded bridges can be looked at."""
    firewall = kernel.open_firewall(loopback="kernel")
    before = kernel.reserved_ports()
    firewall.write_reserved({65001, 65002}, {65002} - before)
    firewall.write_reserved((), {65002})
    assert kernel.reserved_ports() == firewall.read_reserved() == before | {65001}
    flow = Flow("udp", "", 53, 53, ("10.0.42.2",))
    firewall.flush_flows([flow])
    assert firewall.keep_forwarding([Forwarded("moorage0")]) == ((), ())
    assert (kernel.flushed, kernel.forwarding) == ([flow], {Forwarded("moorage0")})
