"""Published ports on a host with two uplinks, whose own services answer by the rule of the address that was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from agents import until
from echo_server import Answer
from installation import LONE, PROTOCOLS, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6
from moorage.kernel.linux.nftables import Nftables, NftablesError
from uplinks import CLIENT, CLIENT6, NETWORKS, TABLE, UPLINK, UPLINK6, asked, rule, rules_of_ours, wire

pytestmark = pytest.mark.system

SOON = 2.0
"""Seconds in which what others changed of ours is put right."""

ADDRESSES = {UPLINK: CLIENT, UPLINK6: CLIENT6}
WITHOUT = [
    f"32764:\tfrom all lookup {NETWORKS} proto 109",
    *(
        f"{to}::/64 dev {dev} proto 109 metric 1024 pref medium"
        for to, dev in (("fd43", "mg-dual"), ("fd44", "mg-sealed"))
    ),
]
"""What is there on every host: in IPv6, the way to our networks."""
FROM_SECOND = ("from", "SECOND", "lookup", TABLE)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose host has a second uplink, without a rule for it."""
    with installed(tmp_path_factory.mktemp("policy")) as made:
        wire(made.lab)
        yield made


@contextmanager
def ruled(at: Installation, *words: str, families: tuple[str, ...] = ("-4", "-6")) -> Iterator[None]:
    """A routing rule of the host's, for the time of a block."""
    rule(at.lab, *words, families=families)
    try:
        yield
    finally:
        rule(at.lab, *words, verb="del", families=families)


def answers(at: Installation, address: str, port: int = 8080, proto: str = "tcp") -> bool:
    """Whether the client of the second uplink is answered there."""
    return isinstance(asked(at.lab, address, port, proto, timeout=0.2), Answer)


def followed(at: Installation) -> bool:
    """Whether the second address answers a client to whom only its own uplink leads, and the host as well."""
    ways = [*(answers(at, address) for address in ADDRESSES)]
    return all(ways) and all(at.lab.can_reach("host", (address, 8080), timeout=0.2) for address in ADDRESSES)


def marking(at: Installation) -> str:
    """The table that marks answers, as text; "" where there is none."""
    nftables = at.lab.call("host", Nftables)
    try:
        listed = str(nftables.list("table inet moorage_policy", elements=True))
        return re.sub(r"'handle': \d+", "", listed)
    except NftablesError:
        return ""
    finally:
        nftables.close()


def sysctl(at: Installation, path: str, value: str | None = None) -> str:
    """The value of a sysctl of the host's, which is set to `value` before if there is one."""
    file = f"/proc/sys/net/{path}"
    if value is not None:
        at.lab.run("host", ["sh", "-c", f"echo {value} > {file}"])
    return at.lab.run("host", ["cat", file]).strip()


def test_nothing_of_it_without_rules_of_the_host(at: Installation) -> None:
    """A host with the kernel's own rules alone has no rule, no route and no table of this, and only then.

    But for the way to our networks of IPv6.
    """
    assert (rules_of_ours(at.lab), marking(at)) == (WITHOUT, "")
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        assert len(rules_of_ours(at.lab)) > len(WITHOUT)
        assert marking(at)
    until(lambda: (rules_of_ours(at.lab), marking(at)) == (WITHOUT, ""))


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_the_second_address_answers_by_its_uplink(at: Installation, proto: str) -> None:
    """Where the host's services answer at the second address, published ports do too, and see the client."""
    service = at.lab.echo_server("host", "tcp", 7000)
    with ruled(at, *FROM_SECOND), closing(service):
        for address, client in ADDRESSES.items():
            assert answers(at, address, 7000)
            until(lambda address=address: answers(at, address, 8080, proto))  # type: ignore[misc]
            answer = asked(at.lab, address, 8080, proto)
            assert isinstance(answer, Answer)
            assert (answer.server, answer.peer) == ("web", client)
        assert at.lab.connect("outside", (HOST, 8080), proto).peer == OUTSIDE
        assert at.lab.connect("outside", (HOST6, 8080), proto).peer == OUTSIDE6


@pytest.mark.parametrize("proto", PROTOCOLS)
def test_the_host_and_containers_reach_the_second_address(at: Installation, proto: str) -> None:
    """From the host, the container itself, a neighbour and another network the second address answers as the first."""
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        for address in ADDRESSES:
            for client in ("host", "web", "peer"):
                assert at.lab.connect(client, (address, 8080), proto).server == "web"
        assert at.lab.connect("lone", (UPLINK, 8080), proto).peer == LONE


def test_the_proxy_answers_at_the_second_address(at: Installation) -> None:
    """What the proxy carries answers there: IPv6 for a container without it, and a port with source proxy-v2."""
    at.client.publish("lone", ["8070:80"], source="proxy-v2")
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        for proto in PROTOCOLS:
            assert answers(at, UPLINK6, 8081, proto)
            assert at.lab.connect("host", (UPLINK6, 8081), proto).server == "lone"
        for address in ADDRESSES:
            assert answers(at, address, 8070)


def test_a_strict_uplink_takes_what_is_for_a_container(at: Installation) -> None:
    """A link that takes only what would be answered by it looks at the marks; others are left alone."""
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        assert sysctl(at, "ipv4/conf/eth1/src_valid_mark") == "0"
        sysctl(at, "ipv4/conf/eth1/rp_filter", "1")
        until(lambda: sysctl(at, "ipv4/conf/eth1/src_valid_mark") == "1")
        assert followed(at)
        sysctl(at, "ipv4/conf/eth1/src_valid_mark", "0")
        until(lambda: sysctl(at, "ipv4/conf/eth1/src_valid_mark") == "1")
        assert sysctl(at, "ipv4/conf/eth0/src_valid_mark") == "0"
    sysctl(at, "ipv4/conf/eth1/rp_filter", "0")


STRICT = """table inet theirs {
    chain strict {
        type filter hook prerouting priority filter + 10; policy accept;
        meta nfproto { ipv4, ipv6 } iifname != "lo" ip6 nexthdr != icmpv6 fib saddr . mark . iif oif missing drop
        meta nfproto ipv4 fib saddr . mark . iif oif missing drop
    }
}
"""
"""What firewalld writes for IPv6, and the same of IPv4."""


def test_a_rule_that_looks_at_the_way_back_takes_what_is_for_a_container(at: Installation) -> None:
    """Where a rule of the host's drops what would not be answered by the link it came by, published ports answer."""
    nftables = at.lab.call("host", Nftables)
    nftables.run(STRICT)
    try:
        with ruled(at, *FROM_SECOND):
            until(lambda: followed(at))
        assert at.lab.connect("outside", (HOST, 8080)).server == "web"
    finally:
        nftables.run("delete table inet theirs")
        nftables.close()


def test_a_tunnel_for_everything(at: Installation) -> None:
    """Under a rule that leads all but a tunnel's own packets into it, the host and its proxies reach containers."""
    for family, via in (("-4", "10.88.0.2"), ("-6", "fd88::2")):
        at.lab.run(
            "host", ["ip", family, "route", "add", "default", "via", via, "dev", "eth1", "table", "51820"]
        )
    with ruled(at, "not", "fwmark", "0xca6c", "lookup", "51820"):
        until(lambda: at.lab.can_reach("host", ("127.0.0.1", 8080), timeout=0.2))
        for address in (HOST, UPLINK, HOST6, UPLINK6, "::1"):
            assert at.lab.connect("host", (address, 8080)).server == "web"
        assert at.lab.connect("peer", (UPLINK, 8080)).server == "web"
        assert followed(at)


def test_a_rule_for_what_containers_begin(at: Installation) -> None:
    """Where the traffic of a network has a way out of its own, its published ports answer at the first address."""
    with ruled(at, "from", "10.0.43.0/24", "lookup", TABLE, families=("-4",)):
        until(lambda: bool(rules_of_ours(at.lab)))
        until(lambda: at.lab.can_reach("outside", (HOST, 8080), timeout=0.2))
        assert at.lab.connect("outside", (HOST, 8081)).peer == OUTSIDE
        with ruled(at, "from", UPLINK, "lookup", TABLE, families=("-4",)):
            until(lambda: answers(at, UPLINK))


def test_the_order_of_rules_is_kept(at: Installation) -> None:
    """A rule before that of the address counts for answers as it does for services: here one for some clients."""
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        with ruled(at, "from", "SECOND", "prohibit", "priority", "10"):
            until(lambda: not any(answers(at, address) for address in ADDRESSES))
        until(lambda: followed(at))


def test_what_others_mark_is_theirs(at: Installation) -> None:
    """An answer that a rule of the host's marked, before ours, goes where that mark leads."""
    nftables = at.lab.call("host", Nftables)
    nftables.run(
        "add table inet theirs\n"
        "add chain inet theirs marks { type filter hook prerouting priority mangle; }\n"
        'add rule inet theirs marks iifname "mg-dual" ct original ip daddr 10.88.0.1 meta mark set 0x7'
    )
    try:
        with ruled(at, "fwmark", "0x7", "prohibit"), ruled(at, *FROM_SECOND):
            until(lambda: answers(at, UPLINK6))
            assert not answers(at, UPLINK)
    finally:
        nftables.run("delete table inet theirs")
        nftables.close()


def settled(at: Installation) -> list[str]:
    """Our rules, once they are followed and all are there: they are written one after the other."""
    looks: list[list[str]] = []

    def is_still() -> bool:
        looks.append(rules_of_ours(at.lab))
        return followed(at) and rules_of_ours(at.lab) == looks[-1]

    until(is_still)
    return looks[-1]


DAMAGE = {
    "rules-deleted": "ip -4 rule flush protocol 109; ip -6 rule flush protocol 109",
    "block-deleted": "ip rule delete priority 60000",
    "routes-flushed": f"ip -4 route flush table {NETWORKS}; ip -6 route flush table {NETWORKS}",
    "rule-added": "ip rule add priority 5 fwmark 0x1000/0xffffff80 prohibit protocol 109",
    "bridge-deleted": "ip link delete mg-dual",
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_others_undo_is_put_right(at: Installation, what: str) -> None:
    """Rules and routes of ours that somebody changes are soon as they were, and it is told."""
    with ruled(at, *FROM_SECOND):
        before = settled(at)
        with at.agent.events("repaired") as events:
            at.lab.run("host", ["sh", "-ec", DAMAGE[what]])
            assert until(lambda: rules_of_ours(at.lab) == before and followed(at)) < SOON
            events.wait(
                lambda event: (
                    "ip rule" in event["what"] or "route" in event["what"] or "bridge" in event["what"]
                )
            )


def test_marks_that_others_undo_are_put_right(at: Installation) -> None:
    """So is the table of marks, deleted, flushed or with a value changed."""
    nftables = at.lab.call("host", Nftables)
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        for command in (
            "delete table inet moorage_policy",
            "flush chain inet moorage_policy follow",
            "flush map inet moorage_policy asked4",
            "flush set inet moorage_policy nets6",
        ):
            nftables.run(command)
            assert until(lambda: followed(at)) < SOON
    nftables.close()


def test_a_fight_over_ours_delays_nothing_of_the_hosts(at: Installation) -> None:
    """While repairs of our rules wait, as somebody undoes them each time, the host's rules are followed as before."""
    with ruled(at, *FROM_SECOND):
        while not at.agent.log("repairs_contested"):
            until(lambda: len(rules_of_ours(at.lab)) > len(WITHOUT))
            at.lab.run("host", ["ip", "rule", "flush", "protocol", "109"])
    assert any("routing rules" in line["what"] for line in at.agent.log("repairs_contested"))
    for _ in range(3):
        with ruled(at, *FROM_SECOND):
            until(lambda: followed(at))


def test_the_hosts_rules_are_followed_as_they_change(at: Installation) -> None:
    """A rule that leads elsewhere, and a table whose route comes later, count for published ports from then on."""
    rule(at.lab, "from", "SECOND", "lookup", "101")
    until(lambda: "lookup 101" in str(rules_of_ours(at.lab)))
    assert not answers(at, UPLINK)
    for family, via in (("-4", "10.88.0.2"), ("-6", "fd88::2")):
        at.lab.run(
            "host", ["ip", family, "route", "add", "default", "via", via, "dev", "eth1", "table", "101"]
        )
    until(lambda: followed(at))
    for family in ("-4", "-6"):
        at.lab.run("host", ["ip", family, "route", "flush", "table", "101"])
    rule(at.lab, *FROM_SECOND)
    rule(at.lab, "from", "SECOND", "lookup", "101", verb="del")
    until(lambda: followed(at))
    rule(at.lab, *FROM_SECOND, verb="del")


def test_a_network_made_later(at: Installation) -> None:
    """A network that is made, and one that is removed, while the host has rules are followed at once."""
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        at.client.create_network("later", subnet="10.0.45.0/24", subnet6="fd45::/64")
        with at.container("late", "later", "10.0.45.2", ipv6="fd45::2"):
            at.client.publish("late", ["8077:80"])
            for address in ADDRESSES:
                assert answers(at, address, 8077)
                assert at.lab.connect("host", (address, 8077)).server == "late"
        at.client.remove_network("later")
        assert not [line for line in rules_of_ours(at.lab) if "10.0.45" in line or "fd45" in line]


def test_a_rule_that_cannot_be_followed_is_told(at: Installation) -> None:
    """A rule that selects by the user is no rule for what containers answer: the log names it, once."""
    with ruled(at, "from", "SECOND", "uidrange", "0-0", "lookup", TABLE, "priority", "77"):
        until(lambda: len(at.agent.log("routing_not_followed")) == len(ADDRESSES))
        told = sorted(line["what"].partition(":")[0] for line in at.agent.log("routing_not_followed"))
        assert told == [f"ip {family}rule 77 selects by the user" for family in ("-6 ", "")]
        with at.agent.events("repaired") as events:
            at.lab.run("host", ["ip", "rule", "flush", "protocol", "109"])
            events.named("repaired")
    assert len(at.agent.log("routing_not_followed")) == 2


def test_connections_go_on_while_the_agent_is_away(at: Installation) -> None:
    """A killed agent leaves all of it in the kernel, and its successor changes nothing of it."""
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        before = rules_of_ours(at.lab), marking(at)
        at.agent.kill()
        assert all(answers(at, address) for address in ADDRESSES)
        at.agent.start()
        assert all(answers(at, address) for address in ADDRESSES)
        assert (rules_of_ours(at.lab), marking(at)) == before


def test_rules_that_went_while_the_agent_was_away(at: Installation) -> None:
    """What was there for a rule that the host has no longer is taken away at the next start."""
    with ruled(at, *FROM_SECOND):
        until(lambda: followed(at))
        at.agent.kill()
    at.agent.start()
    assert (rules_of_ours(at.lab), marking(at)) == (WITHOUT, "")


def test_all_of_it_is_removed(tmp_path: Path) -> None:
    """`--down` takes away rules, routes and marks, and has a strict link look at marks no longer."""
    with installed(tmp_path) as at:
        wire(at.lab)
        sysctl(at, "ipv4/conf/eth1/rp_filter", "1")
        with ruled(at, *FROM_SECOND):
            until(lambda: followed(at))
            assert sysctl(at, "ipv4/conf/eth1/src_valid_mark") == "1"
            at.agent.terminate()
            assert rules_of_ours(at.lab)
            assert at.agent.down().returncode == 0
            assert (rules_of_ours(at.lab), marking(at)) == ([], "")
            assert sysctl(at, "ipv4/conf/eth1/src_valid_mark") == "0"
