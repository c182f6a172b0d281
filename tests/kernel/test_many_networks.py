"""What hundreds of networks cost: questions to the kernel are counted, no time is measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import pytest

from host_links import NETWORK, HostLinks
from kernel.test_links_reconcile import HOST_DAMAGE, PORT
from moorage.kernel.linux.rtdump import Reader
from moorage.values import Network

pytestmark = pytest.mark.system

DAMAGE = [name for name, command in HOST_DAMAGE.items() if PORT not in command]
FEW, MANY = 8, 24
LINKS = (18, 0x301)
"""RTM_GETLINK for all of them."""
LOOK = 24
"""Questions of one look, of which some are dumps: however many networks there are."""


def networks(count: int) -> list[Network]:
    """The one that is damaged, and others."""
    others = [
        replace(
            NETWORK,
            name=f"net{number}",
            bridge=f"other{number}",
            subnet=f"10.43.{number}.0/24",
            gateway=f"10.43.{number}.1",
            subnet6=f"fd43:{number:x}::/64",
            gateway6=f"fd43:{number:x}::1",
        )
        for number in range(count - 1)
    ]
    return [*others[: count // 2], NETWORK, *others[count // 2 :]]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The kinds and flags of the questions to the kernel."""
    kinds: list[tuple[int, int]] = []
    send = Reader._send

    def counted(reader: Reader, kind: int, flags: int, body: bytes) -> None:
        kinds.append((kind, flags))
        send(reader, kind, flags, body)

    monkeypatch.setattr(Reader, "_send", counted)
    return kinds


def made(links: HostLinks, count: int) -> list[Network]:
    wanted = networks(count)
    for network in wanted:
        links.ensure_network(network)
    links.reconcile(wanted, [])
    return wanted


def test_a_look_asks_no_more_for_many(links: HostLinks, asked: list[tuple[int, int]]) -> None:
    """Where nothing is wrong a look at all networks asks the kernel a fixed number of questions."""
    counts = []
    for count in (FEW, MANY):
        wanted = made(links, count)
        asked.clear()
        assert links.reconcile(wanted, []).repaired == []
        counts.append(len(asked))
    assert counts[0] == counts[1] <= LOOK


def test_one_more_asks_as_the_first_did(links: HostLinks, asked: list[tuple[int, int]]) -> None:
    """To make one, and to find the way out and its MTU, asks no more with many there, and not for all links."""
    counts = []
    for count in (FEW, MANY):
        made(links, count)
        new = replace(
            NETWORK, name="new", bridge=f"new{count}", subnet=f"10.9.{count}.0/24", gateway=f"10.9.{count}.1"
        )
        new = replace(new, subnet6=None, gateway6=None)
        asked.clear()
        links.ensure_network(new)
        links.ways_out()
        links.run(partial(links._links.mtu_out, ipv6=True))
        assert LINKS not in asked
        counts.append(len(asked))
        links.remove_network(new)
    assert counts[0] == counts[1]


@pytest.mark.parametrize("what", DAMAGE)
def test_one_of_many_is_put_right(links: HostLinks, what: str) -> None:
    """Whatever is done to one of many networks is put right at the next look, and is right then."""
    wanted = made(links, FEW)
    before = seen(links, wanted)
    links.lab.run("host", ["sh", "-c", HOST_DAMAGE[what]])
    assert links.reconcile(wanted, []).repaired
    assert links.reconcile(wanted, []).repaired == []
    assert seen(links, wanted) == before


def seen(links: HostLinks, wanted: Sequence[Network]) -> list[str]:
    """Links without what moves by itself, addresses and routes."""
    names = {network.bridge for network in wanted}
    addresses = links.lab.run("host", ["ip", "-brief", "address"]).splitlines()
    routes = [
        line
        for family in ("-4", "-6")
        for line in links.lab.run("host", ["ip", family, "route"]).splitlines()
    ]
    found = [" ".join(line.split()[2:]) for line in sorted(addresses) if line.split()[0] in names]
    return [*found, *sorted(route.replace(" linkdown", "").strip() for route in routes)]
