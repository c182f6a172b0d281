"""Ports published on every address of the host are there at its link-local addresses too, and on one of those alone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from agents import START, Replaceable, until
from agreement import read_elements
from cgroups import own_cgroup, why_not
from echo_server import Answer, ask
from installation import GATEWAY, LONE, PROTOCOLS, WEB, Installation
from lab import Address, Lab
from moorage import Refused

pytestmark = pytest.mark.system

SHARED = "fe80::77"
"""An address that the host has on both of its links."""
FIRST, SECOND = "fe80::71", "fe80::72"
"""Addresses that it has on `eth0`, on `eth1`."""
LINKS = ("eth0", "eth1")


@pytest.fixture(scope="module", params=["kernel", "connect", "proxy"])
def at(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A host with two links to the outside, whoever carries its 127.0.0.1."""
    directory = tmp_path_factory.mktemp(request.param)
    settings = {"subnet": "10.0.42.1/24", "loopback": request.param}
    with ExitStack() as stack:
        if request.param == "connect":
            if reason := why_not():
                pytest.skip(reason)
            stack.enter_context(own_cgroup())
        lab = stack.enter_context(Lab())
        agent = stack.enter_context(Replaceable(lab, directory, **settings))
        plug(lab, "eth1")
        for link, alone in zip(LINKS, (FIRST, SECOND), strict=True):
            address(lab, "add", alone, link)
            address(lab, "add", SHARED, link)
        yield Installation(lab, agent)


def plug(lab: Lab, link: str) -> None:
    """Give the host another link to the outside."""
    outside = Path(lab.path("outside")).name
    lab.run("host", ["ip", "link", "add", link, "type", "veth", "peer", "name", link, "netns", outside])
    for name in ("host", "outside"):
        lab.run(name, ["sh", "-c", f"echo 0 > /proc/sys/net/ipv6/conf/{link}/accept_dad"])
        lab.run(name, ["ip", "link", "set", link, "up"])


def address(lab: Lab, verb: str, ip: str, link: str) -> None:
    lab.run("host", ["ip", "address", verb, f"{ip}/64", "dev", link, *["nodad"] * (verb == "add")])


def scoped(lab: Lab, name: str, ip: str, port: int, link: str = "eth0") -> Address:
    """Where `name` finds a link-local address on that link of its own."""
    return ip, port, 0, lab.call(name, socket.if_nametoindex, link)


def connect(at: Installation, name: str, ip: str, port: int, *way: str) -> Answer:
    """Ask there; `way` is the protocol, and the link."""
    proto, link = (*way, *("tcp", "eth0")[len(way) :])
    return at.lab.connect(name, scoped(at.lab, name, ip, port, link), proto)


def reaches(at: Installation, name: str, ip: str, port: int, *way: str) -> bool:
    proto, link = (*way, *("tcp", "eth0")[len(way) :])
    return at.lab.can_reach(name, scoped(at.lab, name, ip, port, link), proto)


@pytest.mark.parametrize("proto", PROTOCOLS)
@pytest.mark.parametrize("link", LINKS)
@pytest.mark.parametrize("name", ["outside", "host"])
def test_ports_on_any_address(at: Installation, name: str, link: str, proto: str) -> None:
    """They answer at each link's, from outside and from the host, on networks with IPv6 and without, ranges too."""
    alone = dict(zip(LINKS, (FIRST, SECOND), strict=True))[link]
    for ip in (SHARED, alone):
        seen = [connect(at, name, ip, port, proto, link)[:3:2] for port in (8080, 8081, 8100, 8102)]
        web, lone = (GATEWAY[WEB], "web"), (GATEWAY[LONE], "lone")
        assert seen == [web, lone, web, web]


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_ports_on_any_address_from_a_container(at: Installation, proto: str) -> None:
    """They answer a container at the link-local address of its gateway."""
    (bridge,) = link_locals(at.lab, "mg-dual")
    assert connect(at, "web", bridge, 8080, proto)[:3:2] == (GATEWAY[WEB], "web")
    assert connect(at, "peer", bridge, 8081, proto)[:3:2] == (GATEWAY[LONE], "lone")


def link_locals(lab: Lab, link: str) -> list[str]:
    shown = lab.run("host", ["ip", "-o", "-6", "address", "show", "dev", link, "scope", "link"])
    return [line.split()[3].partition("/")[0] for line in shown.splitlines()]


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_a_port_on_one_address(at: Installation, proto: str) -> None:
    """It answers on whichever link has that address, from outside and from the host, and on no other address."""
    with at.container("solo") as name:
        specs = [
            f"[{SHARED}]:8700:80/{proto}",
            f"[{FIRST}]:8701:80/{proto}",
            f"[{SHARED}]:8702-8703:80-81/{proto}",
        ]
        given = at.client.publish(name, specs)
        assert [each.host_ip for each in given.ports] == [SHARED, FIRST, SHARED]
        for client in ("outside", "host"):
            for link in LINKS:
                assert connect(at, client, SHARED, 8700, proto, link).server == "solo"
                assert connect(at, client, SHARED, 8702, proto, link).server == "solo"
            assert connect(at, client, FIRST, 8701, proto).peer == GATEWAY[WEB]
            assert not reaches(at, client, FIRST, 8700, proto)
        for to in ("10.77.0.1", "fd77::1"):
            assert not at.lab.can_reach("outside", (to, 8700), proto)
        assert_no_rules(at)


def assert_no_rules(at: Installation) -> None:
    """The kernel's maps know of no link-local address."""
    assert [each for each in at.lab.call("host", read_elements) if str(each.key[0]).startswith("fe80")] == []


def test_an_automatic_port_on_one_address(at: Installation) -> None:
    """It is shown with its number, as the others are."""
    with at.container("solo") as name:
        (given,) = at.client.publish(name, [f"[{SHARED}]::80"]).ports
        assert str(given) == f"tcp/[{SHARED}]:{given.host_port}->80"
        assert connect(at, "outside", SHARED, given.host_port, "tcp", "eth1").server == "solo"


def test_an_address_that_comes_and_goes(at: Installation) -> None:
    """The port follows it to a link that appears later, under whatever number, and lets go of one that is gone."""
    lab = at.lab
    with at.container("solo") as name:
        at.client.publish(name, [f"[{SHARED}]:8700:80", f"[{SHARED}]:8700:80/udp"])
        bound = descriptors(at)
        for _ in range(2):  # the second link of that name has another number
            plug(lab, "eth2")
            address(lab, "add", SHARED, "eth2")
            for proto in PROTOCOLS:
                until(lambda: reaches(at, "outside", SHARED, 8700, proto, "eth2"))  # noqa: B023 - called here
            lab.run("host", ["ip", "link", "del", "eth2"])
            until(lambda: descriptors(at) == bound)
        address(lab, "del", SHARED, "eth0")
        assert connect(at, "outside", SHARED, 8700, "tcp", "eth1").server == "solo"
        address(lab, "add", SHARED, "eth0")
        until(lambda: reaches(at, "outside", SHARED, 8700))


def descriptors(at: Installation) -> int:
    """How many sockets the agent has at that port."""
    return sum(
        "fe80::77" in line for line in at.lab.run("host", ["ss", "-Hlnut", "sport = :8700"]).splitlines()
    )


def test_connections_outlive_a_link_that_is_down_for_a_while(at: Installation) -> None:
    """A link that is set down loses its address; when it is up again, connections through it go on."""
    with at.container("solo") as name:
        at.client.publish(name, [f"[{SECOND}]:8700:80"])
        client = at.lab.open("outside", scoped(at.lab, "outside", SECOND, 8700, "eth1"))
        ask(client)
        at.lab.run("host", ["ip", "link", "set", "eth1", "down"])
        at.lab.run("host", ["ip", "link", "set", "eth1", "up"])
        for ip in (SECOND, SHARED):
            address(at.lab, "add", ip, "eth1")
        assert ask(client).server == "solo"
        until(lambda: reaches(at, "outside", SECOND, 8700, "tcp", "eth1"))


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_a_port_that_another_holds_on_one_link(at: Installation, proto: str) -> None:
    """A foreign holder on any of the links refuses it, named, and nothing of it stays; then it is to be had."""
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    with at.container("solo") as name, at.lab.socket("host", socket.AF_INET6, kind) as foreign:
        foreign.bind(scoped(at.lab, "host", SHARED, 8700, "eth1"))
        if proto == "tcp":
            foreign.listen()
        with pytest.raises(Refused, match=rf"port_in_use: .*8700/{proto} is held by pid"):
            at.client.publish(name, [f"[{SHARED}]:8700:80/{proto}"])
        assert not at.client.inspect(name).ports
        foreign.close()
        at.client.publish(name, [f"[{SHARED}]:8700:80/{proto}"])


def test_a_port_that_another_takes_on_a_new_link(at: Installation) -> None:
    """Who holds the port on a link that gets the address later keeps it there, and is named in the log, once."""
    with at.container("solo") as name, at.lab.socket("host", socket.AF_INET6) as foreign:
        at.client.publish(name, [f"[{FIRST}]:8700:80"])
        address(at.lab, "add", FIRST, "eth1")
        until(lambda: reaches(at, "outside", FIRST, 8700, "tcp", "eth1"))
        address(at.lab, "del", FIRST, "eth1")
        plug(at.lab, "eth2")
        index = at.lab.call("host", socket.if_nametoindex, "eth2")
        foreign.setsockopt(socket.IPPROTO_IP, 15, 1)  # IP_FREEBIND: before the address is there
        foreign.bind((FIRST, 8700, 0, index))
        foreign.listen()
        address(at.lab, "add", FIRST, "eth2")
        until(lambda: at.agent.log("listener_waiting"))
        assert connect(at, "outside", FIRST, 8700).server == "solo"
        foreign.close()
        until(lambda: reaches(at, "outside", FIRST, 8700, "tcp", "eth2"))
        assert len(at.agent.log("listener_waiting")) == 1
        at.lab.run("host", ["ip", "link", "del", "eth2"])


def test_who_has_it(at: Installation) -> None:
    """One interface has a port of an address; other link-local addresses and protocols are apart, any is not."""
    with at.container("solo") as name, at.container("rival") as rival:
        at.client.publish(name, [f"[{SHARED}]:8700:80"])
        for spec in (f"[{SHARED}]:8700:80", "8700:80", "[::]:8700:80"):
            with pytest.raises(Refused, match=r"port_in_use: .*solo"):
                at.client.publish(rival, [spec])
        for spec in (f"[{FIRST}]:8700:80", f"[{SHARED}]:8700:80/udp", "[::1]:8700:80", "0.0.0.0:8700:80"):
            at.client.publish(rival, [spec])
        assert connect(at, "outside", SHARED, 8700).server == "solo"
        assert connect(at, "outside", FIRST, 8700).server == "rival"
        assert_no_rules(at)


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ("[fe80::dead]:8700:80", "invalid: .*fe80::dead is not an address of this host"),
        ("[fe80::77%eth0]:8700:80", "invalid: .*fe80::77%eth0.*scope"),
        ("[fe80::77%2]::80/udp", "invalid: .*scope"),
    ],
)
def test_what_is_refused(at: Installation, spec: str, why: str) -> None:
    """An address that no link has, and one with a zone, are invalid."""
    with at.container("solo") as name:
        with pytest.raises(Refused, match=why):
            at.client.publish(name, [spec])
        assert not at.client.inspect(name).ports


def test_a_network_without_proxies(at: Installation) -> None:
    """It cannot have one, and its ports on any address are not answered for at link-local ones."""
    at.client.create_network("bare", subnet="10.0.45.0/24", subnet6="fd45::/64", proxy="never")
    try:
        with at.container("solo", "bare") as name:
            with pytest.raises(Refused, match=r"unsupported: .*needs a proxy"):
                at.client.publish(name, [f"[{SHARED}]:8700:80"])
            at.client.publish(name, ["8700:80"])
            assert at.lab.connect("outside", ("fd77::1", 8700)).server == "solo"
            with pytest.raises(ConnectionRefusedError):
                connect(at, "outside", SHARED, 8700)
    finally:
        at.client.remove_network("bare")


@pytest.mark.parametrize("how", ["kill", "replace"])
def test_it_outlives_the_agent(at: Installation, how: str) -> None:
    """Killed and started again an agent listens there again; one that is replaced hands over, connections go on."""
    with at.container("solo") as name:
        at.client.publish(name, [f"[{SHARED}]:8700:80", f"[{SHARED}]:8700:80/udp"])
        kept = [
            at.lab.open("outside", scoped(at.lab, "outside", SHARED, 8700, link), proto)
            for link in LINKS
            for proto in PROTOCOLS
        ]
        for each in kept:
            ask(each)
        if how == "kill":
            at.agent.kill()
            at.agent.start()
        else:
            assert isinstance(at.agent, Replaceable)
            predecessor = at.agent.succeed()
            assert [ask(each).server for each in kept] == ["solo"] * len(kept)
        for link in LINKS:
            for proto in PROTOCOLS:
                assert connect(at, "outside", SHARED, 8700, proto, link).server == "solo"
        assert_no_rules(at)
        at.client.unpublish(name)
        until(lambda: descriptors(at) == 0)  # a predecessor hears of it
        if how == "replace":
            streams = kept[::2]
            assert [ended(each) for each in streams] == [True] * len(streams)
            assert predecessor.wait(START) == 0


def ended(client: Any) -> bool:
    try:
        return bool(client.recv(1) == b"")
    except ConnectionResetError:
        return True


def test_an_address_that_is_gone_at_the_start(at: Installation) -> None:
    """What was promised is served as soon as the address is there again."""
    with at.container("solo") as name:
        at.client.publish(name, [f"[{FIRST}]:8700:80"])
        address(at.lab, "del", FIRST, "eth0")
        at.agent.replace()
        assert [str(each) for each in at.client.inspect(name).ports] == [f"tcp/[{FIRST}]:8700->80"]
        address(at.lab, "add", FIRST, "eth0")
        until(lambda: reaches(at, "outside", FIRST, 8700))
