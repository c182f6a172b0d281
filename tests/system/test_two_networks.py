"""One container on two networks: what asks it comes by either link, and the answer leaves by the same."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agents import until
from installation import LONE, PEER, PEER6, PROTOCOLS, WEB, WEB6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6

pytestmark = pytest.mark.system

SOON = 2.0
"""Seconds in which what others changed is put right."""

SECOND, SECOND6 = "10.0.46.9", "fd46::9"
NEIGHBOUR, NEIGHBOUR6 = "10.0.46.3", "fd46::3"


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose `web` can be put on a second network, `more`, which has a container of its own."""
    with installed(tmp_path_factory.mktemp("two")) as made:
        made.client.create_network("more", subnet="10.0.46.0/24", subnet6="fd46::/64")
        made.client.publish("web", [f"8050:90/{proto}" for proto in PROTOCOLS])
        for proto in PROTOCOLS:
            made.lab.echo_server("web", proto, 90, (WEB, WEB6))
        with made.container("neighbour", "more", NEIGHBOUR, ipv6=NEIGHBOUR6):
            yield made


@contextmanager
def twice(at: Installation, ifname: str = "eth1") -> Iterator[None]:
    """`web` on the network `more` as well, with a port there."""
    at.client.allocate(
        "web-more", network="more", ip=SECOND, ipv6=SECOND6, netns=at.lab.path("web"), ifname=ifname,
        ports=[f"8060:90/{proto}" for proto in PROTOCOLS],
    )  # fmt: skip
    # A datagram is answered from the address that was asked by who is bound to it: on every address the system chooses.
    servers = [at.lab.echo_server("web", proto, 90, (SECOND, SECOND6)) for proto in PROTOCOLS]
    try:
        yield
    finally:
        for server in servers:
            server.close()
        at.client.release("web-more")


def rules_inside(at: Installation, name: str = "web") -> list[str]:
    """The routing rules of a container beside those of every namespace."""
    listed = [
        line for family in ("-4", "-6") for line in at.lab.run(name, ["ip", family, "rule"]).splitlines()
    ]
    return [line for line in listed if line.split()[-1] not in {"local", "main", "default"}]


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_ports_of_both_networks_answer(at: Installation, proto: str) -> None:
    """From outside, from the host, from a third network and from the container itself, over both families."""
    with twice(at):
        for port in (8050, 8060):
            for address, seen in ((HOST, OUTSIDE), (HOST6, OUTSIDE6)):
                answer = at.lab.connect("outside", (address, port), proto)
                assert (answer.server, answer.peer) == ("web", seen)
                for client in ("host", "vault"):
                    assert at.lab.connect(client, (address, port), proto).server == "web"
            assert at.lab.connect("lone", (HOST, port), proto).peer == LONE


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_neighbours_on_one_network_reach_the_port_of_the_other(at: Installation, proto: str) -> None:
    """A neighbour on either network asks the host for the port on the other, and is not answered past the host."""
    with twice(at):
        for client, port in (("peer", 8060), ("neighbour", 8050)):
            for address in (HOST, HOST6):
                assert at.lab.connect(client, (address, port), proto).server == "web"
        for client, address, seen in (
            ("peer", WEB, PEER), ("peer", WEB6, PEER6),
            ("neighbour", SECOND, NEIGHBOUR), ("neighbour", SECOND6, NEIGHBOUR6),
        ):  # fmt: skip
            assert at.lab.connect(client, (address, 80), proto).peer == seen


def test_the_container_reaches_out_from_each_address(at: Installation) -> None:
    """What it begins leaves by the network it was first on, and by the other where it says that it is from there."""
    with twice(at):
        assert at.lab.connect("web", (OUTSIDE, 80)).server == "outside"
        for source, to in ((WEB, OUTSIDE), (SECOND, OUTSIDE), (WEB6, OUTSIDE6), (SECOND6, OUTSIDE6)):
            assert at.lab.call("web", bound, source, to)


def bound(source: str, to: str) -> bool:
    """Whether a socket bound to `source` is answered by `to`; in the calling thread's namespace."""
    with socket.create_connection((to, 80), 2, (source, 0)) as made:
        made.sendall(b"hello\n")
        return b"outside" in made.recv(100)


def test_one_network_needs_no_rules(at: Installation) -> None:
    """A container has rules for its addresses while it is on two networks, and none before or after."""
    assert rules_inside(at) == []
    with twice(at):
        assert len(rules_inside(at)) == 4
    assert rules_inside(at) == []
    assert at.lab.run("web", ["ip", "route", "show", "table", "all", "proto", "109"]) == ""
    assert at.lab.connect("outside", (HOST, 8050)).server == "web"


def test_the_next_becomes_the_way_out(at: Installation) -> None:
    """Taken off one network after the other, a container reaches out by what is left, and its ports there answer."""
    path = at.lab.container("roamer")
    ports = {"one": 8061, "two": 8062, "three": 8063}
    for name, network in (("one", "dual"), ("two", "more"), ("three", "default")):
        at.client.allocate(name, network=network, netns=path, ifname=name, ports=[f"{ports[name]}:80"])
    servers = at.serve("roamer", 80)
    try:
        while ports:
            assert at.lab.connect("roamer", (OUTSIDE, 80)).server == "outside"
            for port in ports.values():
                assert at.lab.connect("outside", (HOST, port)).server == "roamer"
            gone = next(iter(ports))
            at.client.release(gone)
            del ports[gone]
        assert rules_inside(at, "roamer") == []
    finally:
        for server in servers:
            server.close()


def test_what_the_container_has_is_kept(at: Installation) -> None:
    """Rules and routes of its own count on: a rule, which comes before ours, and a route by a neighbour."""
    at.lab.run("web", ["ip", "rule", "add", "from", SECOND, "to", "198.51.100.7", "prohibit"])
    at.lab.run("web", ["ip", "route", "add", "198.51.100.0/24", "via", PEER])
    try:
        with twice(at):
            assert "prohibit" in "".join(rules_inside(at))
            way = at.lab.run("web", ["ip", "route", "get", "198.51.100.9", "from", WEB])
            assert f"via {PEER}" in way
            denied = at.lab.run("web", ["ip", "route", "get", "198.51.100.7", "from", SECOND], check=False)
            assert denied == ""
            at.lab.run("web", ["ip", "route", "add", "198.51.101.0/24", "via", PEER])
            until(
                lambda: (
                    f"via {PEER}" in at.lab.run("web", ["ip", "route", "get", "198.51.101.9", "from", WEB])
                )
            )
        assert "prohibit" in "".join(rules_inside(at))
    finally:
        at.lab.run("web", ["ip", "rule", "delete", "from", SECOND, "to", "198.51.100.7"])
        at.lab.run("web", ["ip", "route", "flush", "root", "198.51.100.0/23"])


DAMAGE = {
    "rules": "ip -4 rule flush protocol 109; ip -6 rule flush protocol 109",
    "one-rule": "ip rule delete from 10.0.46.9",
    "routes": "ip -4 route flush table all proto 109; ip -6 route flush table all proto 109",
    "link": "ip link set eth1 down; ip link set eth1 up",
    "address": f"ip address delete {SECOND}/24 dev eth1",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_somebody_undoes_is_put_right(at: Installation, what: str) -> None:
    """Rules and routes of ours that somebody in the container takes away are there again."""
    with twice(at):
        for _ in range(3):  # the first time the agent looks anyway, having attached the container
            with at.agent.events("repaired") as events:
                at.lab.run("web", ["sh", "-ec", DAMAGE[what]])
                assert until(lambda: len(rules_inside(at)) == 4 and answering(at)) < SOON
                assert events.wait(lambda event: "web" in event["what"])


def answering(at: Installation) -> bool:
    """Whether the port on the second network answers."""
    return all(at.lab.can_reach("outside", (to, 8060), timeout=0.2) for to in (HOST, HOST6))


def test_a_link_of_somebody_elses(at: Installation) -> None:
    """A container that has another way out answers who asks for its port by our link."""
    path = at.lab.container("guesthouse")
    for command in (
        "link add other type bridge", "address add 10.50.0.2/24 dev other", "link set other up",
        "route add default via 10.50.0.1",
        "-6 address add fd50::2/64 dev other nodad", "-6 route add default via fd50::1",
    ):  # fmt: skip
        at.lab.run("guesthouse", ["ip", *command.split()])
    at.client.allocate("guesthouse", network="dual", netns=path, ports=["8065:80"])
    servers = at.serve("guesthouse", 80)
    try:
        for address in (HOST, HOST6):
            assert at.lab.connect("outside", (address, 8065)).server == "guesthouse"
        at.client.release("guesthouse")
        assert rules_inside(at, "guesthouse") == []
    finally:
        for server in servers:
            server.close()


def test_rules_are_the_same_after_a_restart(at: Installation) -> None:
    """The agent finds what it made, and changes nothing of it."""
    with twice(at):
        before = rules_inside(at)
        repaired = at.client.status().repaired
        assert at.agent.replace() == 0
        assert rules_inside(at) == before
        assert at.lab.connect("outside", (HOST, 8060)).server == "web"
        assert at.client.status().repaired <= repaired
    assert rules_inside(at) == []
