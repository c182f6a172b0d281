"""Tables of others in the same network namespace, which libnftables reads whenever it is asked anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab import Lab
from moorage import memory
from moorage.kernel.linux import elements, ruleset
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.nftables import KEPT, Nftables
from moorage.kernel.protocol import Element

pytestmark = pytest.mark.system

TABLES, RULES = 72, 200
GUARDED = Element("ports", ("mgabc",))


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host with many rules of somebody's, made by another process: half a MiB of this one's for each table."""
    with Lab() as made:
        made.call("host", _make_in_a_process_of_its_own)
        yield made


def _make_in_a_process_of_its_own() -> None:
    child = os.fork()
    if not child:
        status = 1
        try:
            with closing(Nftables()) as nftables:
                for number in range(TABLES):  # together they are more than one message of a user may be
                    nftables.run(_table(number))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def _table(number: int) -> str:
    nets = ", ".join(f"10.{number}.{net}.0/24" for net in range(0, 250, 2))
    rules = "".join(f"ip saddr 10.{number}.{net}.1 tcp dport {net + 1} accept\n" for net in range(RULES))
    return (
        f"table inet foreign{number} {{\nset nets {{ type ipv4_addr; flags interval; elements = {{ {nets} }}; }}\n"
        f"chain rules {{\ntype filter hook input priority 0; policy accept;\n{rules}}}\n}}\n"
    )


def element(number: int) -> Element:
    return Element("pub4_any", ("tcp", 8000 + number), ("10.0.42.2", 80))


def grown(firewall: LinuxFirewall, before: int) -> int:
    """The most bytes that are kept after any of many changes, and looks at everything."""
    firewall.install([])
    most = memory.allocated() - before
    for number in range(8):
        firewall._run(ruleset.change([element(number)], [element(number - 1)] if number else []))
        firewall.keep_answers([], lambda path, value: None, repair=True)
        most = max(most, memory.allocated() - before)
    firewall.install([element(7)])
    return max(most, memory.allocated() - before)


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_they_are_not_kept(lab: Lab) -> None:
    """What is kept of others' tables from one change to the next is bounded, however much they hold."""

    def work() -> int:
        with closing(LinuxFirewall(loopback="kernel")) as firewall:
            firewall.install([])  # whatever is loaded with the first
        before = memory.allocated()
        with closing(LinuxFirewall(loopback="kernel")) as firewall:
            return grown(firewall, before)

    assert lab.call("host", work) < KEPT * 5 // 4


def test_descriptors_are_as_before(lab: Lab) -> None:
    """Forgetting them takes no descriptor for good."""

    def work() -> tuple[int, int]:
        with closing(LinuxFirewall(loopback="kernel")) as firewall:
            firewall.install([])
            before = descriptors()
            grown(firewall, 0)
            return before, descriptors()

    before, after = lab.call("host", work)
    assert after == before


def test_a_change_of_elements_reads_none_of_them(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ports come and go, and masquerading leaves them, without the library, which would read all tables for each."""

    def work() -> None:
        with closing(LinuxFirewall(loopback="kernel")) as firewall:
            firewall.masquerade((), frozenset(), range(49153, 65536))
            firewall.install([])
            monkeypatch.setattr(firewall._nftables, "run", None)
            firewall.keep_clear([("tcp", 8080)], ())
            firewall.change([element(80), GUARDED], ())
            assert {element(80), GUARDED} <= elements.read(firewall._netlink) | guarded(firewall)
            firewall.change((), [element(80), GUARDED])
            firewall.keep_clear((), [8080])
            assert GUARDED not in guarded(firewall)
            assert not firewall.changed()

    lab.call("host", work)


def guarded(firewall: LinuxFirewall) -> set[Element]:
    return elements.read(firewall._netlink, ruleset.GUARD)
