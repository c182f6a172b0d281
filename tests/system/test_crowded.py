"""An agent whose kernel has a crowd of connections already."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

import packets
from agents import until
from echo_server import ask
from installation import PEER, PEER6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6
from moorage.kernel.linux.ctnetlink import GET
from moorage.kernel.linux.nfnetlink import Netlink, generic
from packets import Ends
from system.test_meanwhile import Persistent, going_on, said, send

pytestmark = pytest.mark.system

CROWD = 60_000
"""More than walks are done at once for."""
MOVING = "2001:db8:99::1"
WALKS = 8
"""What is answered soon takes less time than so many walks through the crowd; who waited for them had a dozen."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("crowded"), flows=1 << 24) as made:
        raw = made.lab.call("peer", socket.socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        with raw:
            for number in range(CROWD):
                ends = Ends(PEER, 32768 + number % 20000, OUTSIDE, 2000 + number // 20000)
                raw.sendto(packets.udp(ends, b"hello"), (OUTSIDE, 0))
        yield made


def soon(at: Installation, what: Callable[[], object]) -> bool:
    """Whether it takes less time than `WALKS`, each as long as one takes at this moment."""
    before, took, after = timed(lambda: walk(at)), timed(what), timed(lambda: walk(at))
    return took < WALKS * max(before, after)


def walk(at: Installation) -> None:
    with at.lab.call("host", Netlink) as netlink:
        netlink.dump(GET, generic(0))


def timed(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


def test_nobody_waits_for_the_crowd(at: Installation) -> None:
    """Publishing, taking back and releasing are answered soon, and connections of what is gone end soon after."""
    with at.container("busy") as name:
        assert soon(at, lambda: at.client.publish(name, ["8900:80", "8900:80/udp"]))
        with (
            at.lab.open("outside", (HOST, 8900), "tcp") as tcp,
            at.lab.open("outside", (HOST, 8900), "udp") as udp,
        ):
            assert {ask(tcp).server, ask(udp).server} == {name}
            assert soon(at, lambda: at.client.unpublish(name))
            until(lambda: is_over(tcp))
            until(lambda: is_over(udp))
        assert soon(at, lambda: at.client.detach(name))


@pytest.mark.parametrize(("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)], ids=["v4", "v6"])
def test_who_comes_meanwhile_is_seen_as_himself(at: Installation, host: str, outside: str) -> None:
    """Who sends or connects from before a port is published, however long former connections take to end."""
    seen = set()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with at.container("late") as name:
        clients = []
        for port in range(8910, 8914):
            sender = at.lab.socket("outside", family, socket.SOCK_DGRAM)
            caller = Persistent(at, host, port)
            with going_on(at, partial(send, sender, (host, port))), going_on(at, caller.call):
                at.client.publish(name, [f"{port}:80", f"{port}:80/udp"])
            clients.append((port, sender, caller))
        for port, sender, caller in clients:  # what is sent again a second later is waited for once
            with sender:
                seen |= {said(sender, (host, port))} | caller.seen()
        at.client.unpublish(name)
    assert seen == {outside}


def test_nobody_waits_for_addresses_that_move(at: Installation) -> None:
    """Nor for those of the host that come and go, as a router can have them: they are followed together, by others."""
    raw = at.lab.call("peer", socket.socket, socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with raw:
        for number in range(CROWD):
            ends = Ends(PEER6, 32768 + number % 20000, OUTSIDE6, 2000 + number // 20000)
            raw.sendto(packets.udp(ends, b"hello"), (OUTSIDE6, 0))
    with at.container("mover") as name:
        for number in range(4):
            for verb in ("add", "del"):
                at.lab.run(
                    "host", ["ip", "address", verb, f"2001:db8:{number}::1/64", "dev", "eth0", "nodad"]
                )
            assert soon(at, lambda: at.client.publish(name, ["80"]))
        at.lab.run("host", ["ip", "address", "add", f"{MOVING}/64", "dev", "eth0", "nodad"])
        at.lab.run("outside", ["ip", "route", "add", MOVING, "via", HOST6])
        at.client.publish(name, ["8902:80/udp"])
        with at.lab.open("outside", (MOVING, 8902), "udp") as client:
            assert ask(client).server == name
            at.lab.run("host", ["ip", "address", "del", f"{MOVING}/64", "dev", "eth0"])
            until(lambda: is_over(client))


def is_over(client: socket.socket) -> bool:
    """Whether it is answered no more."""
    client.settimeout(0.3)
    try:
        ask(client)
    except OSError:
        return True
    return False


def test_the_next_agent_is_soon_there(at: Installation) -> None:
    """It serves soon after its start, and ends what its predecessor had not come to."""
    with at.lab.open("outside", (HOST, 8080)) as client:
        assert ask(client).server == "web"
        at.agent.kill()
        at.agent.start()
        assert soon(at, lambda: at.client.publish("web", ["8901:80"]))
        assert soon(at, lambda: at.client.unpublish("web", ["8901:80"]))
        assert ask(client).server == "web"
    assert at.agent.terminate() == 0
    at.agent.start()
