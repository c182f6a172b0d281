"""A container that begins connections without end has its share of the kernel's table, and others have theirs."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pytest

from agents import until
from echo_server import ask
from installation import GATEWAY, PEER, PEER6, WEB, WEB6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6
from moorage.kernel.linux.ctnetlink import DELETE, GET, Entry
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

FLOWS = 100


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("shares"), flows=FLOWS) as made:
        yield made


def began(*addresses: str) -> int:
    """How many connections these have begun, as the kernel's table has them."""
    with Netlink() as netlink:
        return sum(Entry.parsed(body).source in addresses for body in netlink.dump(GET, generic(0)))


def forget_all() -> None:
    """Empty the kernel's table, as its entries run out."""
    with Netlink() as netlink:
        netlink.ask(DELETE, generic(0))


def flood(at: Installation, name: str, to: str, count: int) -> None:
    """One datagram to each of so many ports."""
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    with at.lab.socket(name, family, socket.SOCK_DGRAM) as sender:
        for port in range(10000, 10000 + count):
            sender.sendto(b"hello", (to, port))


def test_who_begins_without_end_has_his_share(at: Installation) -> None:
    """Of both families and to whomever; others begin theirs, and clients reach what he publishes."""
    at.lab.call("host", forget_all)
    for to in (OUTSIDE, OUTSIDE6, HOST, WEB):
        flood(at, "peer", to, 3 * FLOWS)
    assert FLOWS * 0.9 <= at.lab.call("host", began, PEER, PEER6) <= FLOWS + 2
    until(lambda: any("peer has begun" in text for text in at.client.status().warnings))
    assert at.lab.connect("web", (OUTSIDE, 80)).server == "outside"
    at.client.publish("peer", ["8878:80"])
    assert at.lab.connect("outside", (HOST, 8878)).server == "peer"
    with pytest.raises(TimeoutError):
        at.lab.connect("peer", (OUTSIDE, 80), timeout=1)
    at.client.unpublish("peer", ["8878:80"])


def fills(at: Installation, to: str) -> bool:
    """Whether a flood of that container's takes its share."""
    flood(at, "web", to, 3 * FLOWS)
    return bool(at.lab.call("host", began, WEB, WEB6) >= FLOWS * 0.9)


@pytest.mark.parametrize("priority", [-101, -100])
@pytest.mark.parametrize(("family", "host", "other"), [("ip", HOST, OUTSIDE), ("ip6", HOST6, OUTSIDE6)])
def test_what_others_translate_counts(
    at: Installation, family: str, host: str, other: str, priority: int
) -> None:
    """Connections that rules of somebody else's translate, ahead of ours or at the same time, count as all do."""
    chain = f"type nat hook prerouting priority {priority}; {family} daddr {host} udp dport 10000-11000 dnat to {other}"
    at.lab.call("host", lambda: Nftables().run(f"table {family} theirs {{ chain pre {{ {chain}; }}; }}\n"))
    at.lab.call("host", forget_all)
    until(lambda: fills(at, host))  # a count of what is gone goes down by a few with each that begins
    began_so_many = at.lab.call("host", began, WEB, WEB6)
    at.lab.call("host", lambda: Nftables().run(f"delete table {family} theirs\n"))
    at.lab.call("host", forget_all)
    until(lambda: not any("web has begun" in text for text in at.client.status().warnings))
    assert began_so_many <= FLOWS + 2


def close_at_once(at: Installation, name: str, to: tuple[str, int], count: int) -> int:
    """So many connections of a container, each ended as soon as it is made; how many were."""
    tried = []
    for number in range(count):
        made = at.lab.socket(name, socket.AF_INET6 if ":" in to[0] else socket.AF_INET)
        made.setblocking(False)
        made.connect_ex(to)
        tried.append(made)
        if select.select([], [made], [], 2 if number < 0.9 * FLOWS else 0.02)[1]:
            made.close()
    done = sum(each.fileno() < 0 for each in tried)
    for each in tried:
        each.close()
    return done


ENDING = {
    "hasty1": (OUTSIDE, 80),
    "hasty2": (OUTSIDE6, 80),
    "hasty3": (HOST, 8081),
    "hasty4": (GATEWAY[WEB], 8081),
}
"""Who connects to where, and ends it."""


class Hasty(NamedTuple):
    """How many such connections were made, how many entries they left, and in how many seconds."""

    done: int
    began: int
    seconds: float


@pytest.fixture(scope="module")
def hasty(at: Installation) -> dict[str, Hasty]:
    """What became of those of each, of all of whom it was told before it ended."""
    at.lab.call("host", forget_all)
    for number, name in enumerate(ENDING, 11):
        at.add(name, "dual", f"10.0.43.{number}", (), ipv6=f"fd43::{number}")

    def ended(name: str, number: int) -> Hasty:
        before = time.monotonic()
        done = close_at_once(at, name, ENDING[name], 3 * FLOWS)
        left = at.lab.call("host", began, f"10.0.43.{number}", f"fd43::{number}")
        return Hasty(done, left, time.monotonic() - before)

    told: set[str] = set()

    def all_are_told_of() -> bool:
        told.update(hurrying(at))
        return told == set(ENDING)

    with ThreadPoolExecutor(len(ENDING)) as pool:
        found = pool.map(ended, ENDING, range(11, 11 + len(ENDING)))
        until(all_are_told_of, 30)  # one may have ended before another is told of
        became = dict(zip(ENDING, found, strict=True))
    at.lab.call("host", forget_all)
    at.lab.call("host", lambda: Nftables().run("flush set inet moorage opened\n"))
    until(lambda: not hurrying(at))
    return became


def hurrying(at: Installation) -> set[str]:
    """Of whom the agent says that they begin more than they may."""
    return {text.split()[0] for text in at.client.status().warnings if "begins more TCP" in text}


@pytest.mark.parametrize("name", ENDING)
def test_what_has_ended_is_bounded(at: Installation, hasty: dict[str, Hasty], name: str) -> None:
    """TCP connections that a container has ended are kept for minutes: so many begin at once, and as many a minute."""
    done, began_so_many, seconds = hasty[name]
    assert FLOWS * 0.9 <= done <= began_so_many <= FLOWS * (1 + seconds / 60) + 2
    assert [each["flows"] for each in at.agent.log("rate_bounded") if each["id"] == name] == [FLOWS]


def test_it_is_told_once_and_ends(at: Installation) -> None:
    """The log names him once, however often it is so, and he begins again when his connections have ended."""
    for _ in range(2):
        flood(at, "peer", OUTSIDE, 2 * FLOWS)
        until(lambda: any("peer has begun" in text for text in at.client.status().warnings))
        at.lab.call("host", forget_all)
        until(lambda: not any("peer has begun" in text for text in at.client.status().warnings))
        assert at.lab.connect("peer", (OUTSIDE, 80)).server == "outside"
    assert [each["flows"] for each in at.agent.log("flows_bounded") if each["id"] == "peer"] == [FLOWS]


def test_a_share_holds_while_no_agent_runs(at: Installation) -> None:
    """The kernel counts by itself, and goes on with what it has when the next agent starts."""
    at.lab.call("host", forget_all)
    at.agent.kill()
    flood(at, "peer", OUTSIDE, 3 * FLOWS)
    assert FLOWS * 0.9 <= at.lab.call("host", began, PEER, PEER6) <= FLOWS + 2
    at.agent.start()
    flood(at, "peer", OUTSIDE6, 3 * FLOWS)
    assert at.lab.call("host", began, PEER, PEER6) <= FLOWS + 2
    at.lab.call("host", forget_all)
    until(lambda: not any("peer has begun" in text for text in at.client.status().warnings))
    with at.lab.open("peer", (OUTSIDE, 80)) as made:
        assert ask(made).server == "outside"
