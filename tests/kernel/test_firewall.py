import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lab import Lab
from moorage.errors import Code, Refused
from moorage.kernel.linux import nftables
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.kernel import LinuxKernel
from moorage.kernel.linux.nftables import Nftables
from moorage.kernel.protocol import Element, Firewall, Kernel
from moorage.model.elements import network_elements
from moorage.values import Network

pytestmark = pytest.mark.system

NETWORK = network_elements(
    Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1", "fd00:42::/64", "fd00:42::1", internal=True)
)
OTHER = network_elements(Network("other", "moorage1", "10.0.43.0/24", "10.0.43.1"))
MISSING = ["table inet moorage was missing", "table bridge moorage was missing"]

_OPEN = """
from moorage.errors import Refused
from moorage.kernel.linux.firewall import LinuxFirewall
try:
    LinuxFirewall(loopback="kernel")
except Refused as refused:
    print(refused)
"""


def published(port: int, to: int = 80, proto: str = "tcp") -> Element:
    return Element("pub4_any", (proto, port), ("10.0.42.2", to))


ELEMENTS = frozenset({*NETWORK, *OTHER, published(80), published(53, 53, "udp"), published(9, 9, "sctp")})


@pytest.fixture
def firewall() -> Iterator[LinuxFirewall]:
    made = LinuxFirewall(loopback="kernel")
    yield made
    made.remove()
    made.close()


@pytest.fixture
def other() -> Iterator[Nftables]:
    """Somebody else who changes nftables."""
    made = Nftables()
    yield made
    made.run("flush ruleset")
    made.close()


def test_it_is_what_a_kernel_opens() -> None:
    """The real kernel satisfies the protocol and opens this firewall."""
    kernel: Kernel = LinuxKernel()
    opened: Firewall = kernel.open_firewall(loopback="kernel")
    opened.close()
    assert kernel.real
    assert kernel.boot_id() == Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def test_install_makes_the_table_and_then_finds_it_right(firewall: LinuxFirewall) -> None:
    """The first install says that nothing was there, the second that nothing was wrong."""
    assert firewall.install(ELEMENTS) == MISSING
    assert firewall.install(ELEMENTS) == []


def test_the_next_agent_finds_the_table_right(firewall: LinuxFirewall) -> None:
    """What one agent left, another one finds, with all elements, and has nothing to say."""
    firewall.install(ELEMENTS)
    again = LinuxFirewall(loopback="kernel")
    assert again.install(ELEMENTS) == []
    again.close()


@pytest.mark.parametrize(
    ("damage", "sentences"),
    [
        ("flush ruleset", MISSING),
        ("delete table inet moorage", MISSING[:1]),
        ("delete table bridge moorage", MISSING[1:]),
        ("flush chain inet moorage guard", ["chain guard had been changed"]),
        ("add rule inet moorage to_net accept", ["chain to_net had been changed"]),
        ("insert rule inet moorage to_net accept", ["chain to_net had been changed"]),
        ("add chain inet moorage forward { policy drop; }", ["chain forward had been changed"]),
        ("add chain inet moorage foreign", ["chain foreign was not ours"]),
        ("add set inet moorage foreign { type mark; }", ["set foreign was not ours"]),
        (
            "delete element inet moorage pub4_any { tcp . 80 }",
            ["element pub4_any tcp . 80 : 10.0.42.2 . 80 was missing"],
        ),
        (
            "delete element inet moorage pub4_any { tcp . 80 }\n"
            "add element inet moorage pub4_any { tcp . 80 : 10.9.9.9 . 1 }",
            ["element pub4_any tcp . 80 : 10.0.42.2 . 80 had another value"],
        ),
        (
            "add element inet moorage pub6_ip { fd00::1 . udp . 80 : fd00::2 . 80 }",
            ["element pub6_ip fd00::1 . udp . 80 : fd00::2 . 80 was not ours"],
        ),
        ("delete element inet moorage masq4 { 10.0.42.0/24 }", ["element masq4 10.0.42.0/24 was missing"]),
        (
            "add element inet moorage masq4 { 10.7.0.5-10.7.0.9 }",
            ["element masq4 10.7.0.5-10.7.0.9 was not ours"],
        ),
        (
            'add element inet moorage net6if { fd01::/32 . "eth9" }',
            ["element net6if fd01::/32 . eth9 was not ours"],
        ),
        ("flush set inet moorage internal", ["element internal moorage0 was missing"]),
    ],
)
def test_damage_is_noticed_named_and_repaired(
    firewall: LinuxFirewall, other: Nftables, damage: str, sentences: list[str]
) -> None:
    """Whatever somebody else does to the table is noticed once, said, and put right by one install."""
    firewall.install(ELEMENTS)
    other.run(damage)
    assert [firewall.changed(), firewall.changed()] == [True, False]
    assert firewall.install(ELEMENTS) == sentences
    assert not firewall.changed()
    assert firewall.install(ELEMENTS) == []


def test_reordered_rules_are_noticed(firewall: LinuxFirewall, other: Nftables) -> None:
    """A chain whose rules are all there in another order has been changed."""
    firewall.install(ELEMENTS)
    rules = [entry["rule"] for entry in other.list("chain inet moorage nat_out") if "rule" in entry]
    handle = rules[0]["handle"]
    other.run(
        f"delete rule inet moorage nat_out handle {handle}\n"
        "add rule inet moorage nat_out ip daddr @proxied4 return"
    )
    assert firewall.install(ELEMENTS) == ["chain nat_out had been changed"]


def test_an_incompatible_table_is_replaced(firewall: LinuxFirewall, other: Nftables) -> None:
    """A table of our name with sets of other types makes room for ours, at start and later."""
    old = "table inet moorage {\n set bridges { type ipv4_addr; }\n }\n"
    other.run(old)
    assert "set bridges had been changed" in firewall.install(ELEMENTS)
    other.run(f"delete table inet moorage\n{old}")
    assert "set bridges had been changed" in firewall.install(ELEMENTS)
    assert firewall.install(ELEMENTS) == []


def test_changes_by_us_are_not_changes_by_others(firewall: LinuxFirewall, other: Nftables) -> None:
    """Our own transactions do not count, those of others do, in whatever table and between ours."""
    firewall.install(ELEMENTS)
    firewall.change([published(81)], [])
    assert not firewall.changed()
    other.run("add table ip elsewhere")
    firewall.change([published(82)], [])
    assert [firewall.changed(), firewall.changed()] == [True, False]


def test_change_replaces_and_forgives(firewall: LinuxFirewall) -> None:
    """Adding replaces another value of the key; removing what is absent, or twice, is no error."""
    firewall.install(ELEMENTS)
    firewall.change([published(80, 81)], [published(7)])
    firewall.change([], [published(53, 53, "udp")])
    firewall.change([], [published(53, 53, "udp")])
    assert firewall.install(ELEMENTS - {published(80), published(53, 53, "udp")} | {published(80, 81)}) == []


@pytest.mark.parametrize(
    "damage",
    [
        "flush ruleset",
        "delete element inet moorage pub4_any { tcp . 80 }",
        "add element inet moorage pub4_any { tcp . 81 : 10.9.9.9 . 1 }",
    ],
)
def test_a_change_succeeds_on_a_table_that_others_damaged(
    firewall: LinuxFirewall, other: Nftables, damage: str
) -> None:
    """Where the kernel does not hold what we wrote, a change puts the table right with itself in it."""
    firewall.install(ELEMENTS)
    other.run(damage)
    firewall.change([published(81)], [published(80)])
    assert firewall.install(ELEMENTS - {published(80)} | {published(81)}) == []


def test_a_refused_change_leaves_everything_as_it_was(firewall: LinuxFirewall) -> None:
    """An element that the kernel cannot take changes nothing, in the kernel or in what is remembered."""
    firewall.install(ELEMENTS)
    with pytest.raises(Refused, match="nothing was changed"):
        firewall.change([published(81), Element("pub4_any", ("tcp", 82), ("fd00::1", 80))], [published(80)])
    firewall.change([published(83)], [])
    assert firewall.install(ELEMENTS | {published(83)}) == []


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 5), st.integers(1, 2)), max_size=12))
def test_the_kernel_holds_what_a_dict_would(
    firewall: LinuxFirewall, steps: list[tuple[bool, int, int]]
) -> None:
    """After any changes the table holds exactly what a dict does after the same ones."""
    firewall.install([])
    model: dict[int, Element] = {}
    for add, port, to in steps:
        element = published(port, to)
        firewall.change([element] if add else [], [] if add else [element])
        model.pop(port, None)
        model.update({port: element} if add else {})
    assert firewall.install(model.values()) == []


def test_twenty_thousand_elements_go_in_one_change(firewall: LinuxFirewall) -> None:
    """A change far beyond the 64 KiB of one netlink attribute is written, read back and removed whole."""
    firewall.install(())
    many = [published(port, port, proto) for port in range(1, 10001) for proto in ("tcp", "udp")]
    firewall.change(many, [])
    assert firewall.install(many) == []
    firewall.change([], many)
    assert firewall.install(()) == []


def test_subnets_side_by_side_and_nested_are_told_apart(firewall: LinuxFirewall) -> None:
    """Adjacent subnets, one address, one up to the last address, and a smaller one in its place."""
    subnets = ["10.0.42.0/24", "10.0.43.0/24", "10.0.50.1/32", "255.255.255.0/24", "0.0.0.0/8"]
    elements = {Element("masq4", (subnet,)) for subnet in subnets}
    firewall.install(elements)
    assert firewall.install(elements) == []
    firewall.change([Element("masq4", ("10.0.42.0/25",))], [Element("masq4", ("10.0.42.0/24",))])
    narrower = elements - {Element("masq4", ("10.0.42.0/24",))} | {Element("masq4", ("10.0.42.0/25",))}
    assert firewall.install(narrower) == []


def test_loopback_by_the_proxy_is_an_element(firewall: LinuxFirewall) -> None:
    """Who carries 127.0.0.1 is no other rule but an element, so that changing it is a small repair."""
    firewall.install(ELEMENTS)
    proxied = LinuxFirewall(loopback="proxy")
    assert proxied.install(ELEMENTS) == ["element proxied4 127.0.0.0/8 was missing"]
    proxied.close()
    assert firewall.install(ELEMENTS) == ["element proxied4 127.0.0.0/8 was not ours"]


def test_a_watcher_is_woken_by_others_and_ends_with_close(other: Nftables) -> None:
    """Another's transaction in any table wakes; after close the thread and its descriptors are gone."""
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    opened = LinuxFirewall(loopback="kernel")
    woken = threading.Event()
    opened.watch(woken.set, print, print)
    other.run("add table ip elsewhere")
    assert woken.wait(5)
    opened.close()
    opened.close()
    assert "nftables-watcher" not in {thread.name for thread in threading.enumerate()}
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_remove_takes_the_table_and_a_second_time_is_no_error(other: Nftables) -> None:
    """After remove no table of ours is left, and others' tables are."""
    other.run("add table ip elsewhere")
    opened = LinuxFirewall(loopback="kernel")
    opened.install(ELEMENTS)
    opened.remove()
    opened.remove()
    opened.close()
    assert [entry["table"]["name"] for entry in other.list("tables")] == ["elsewhere"]


def test_a_missing_library_is_unsupported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without libnftables the firewall cannot be opened, and the package to install is named."""

    def missing(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(nftables, "_library", nftables._library.__wrapped__)
    monkeypatch.setattr("ctypes.CDLL", missing)
    with pytest.raises(Refused, match="install Debian's libnftables1") as refused:
        LinuxFirewall(loopback="kernel")
    assert refused.value.code is Code.UNSUPPORTED


def test_without_the_right_it_is_denied() -> None:
    """A process without CAP_NET_ADMIN over its network is told what it needs."""
    with Lab() as lab:
        said = lab.run("host", ["setpriv", "--bounding-set=-net_admin", sys.executable, "-c", _OPEN])
        assert said.startswith("denied: ")
