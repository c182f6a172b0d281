from __future__ import annotations

from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from host_links import NETWORK, HostLinks
from lab import Lab
from moorage.kernel.linux.names import port_name
from moorage.values import Interface

pytestmark = pytest.mark.system


def words(*parts: str | list[str] | SearchStrategy[str]) -> SearchStrategy[str]:
    """A command of these parts, of which a list leaves the choice."""
    each = [
        part
        if isinstance(part, SearchStrategy)
        else st.sampled_from([part] if isinstance(part, str) else part)
        for part in parts
    ]
    return st.tuples(*each).map(" ".join)


LINK = ["eth0", "lo", "br9", "eth9"]
ADDRESS = [
    "10.0.42.2",
    "fd42::2",
    "10.0.42.1",
    "fd42::1",
    "10.0.42.3",
    "0.0.0.0",  # noqa: S104 - nobody binds to it
    "224.0.0.5",
    "127.0.0.9",
    "fe80::9",
    "::1",
    "255.255.255.255",
    "ff02::5",
    "10.1.2.3",
]
PREFIX = st.integers(0, 128).map("/{}".format) | st.sampled_from(["/24", "/64", "/32", "/128"])
SUBNET = [
    "default",
    "::/0",
    "0.0.0.0/1",
    "10.0.42.0/24",
    "fd42::/64",
    "10.0.42.2",
    "fd42::2",
    "224.0.0.0/4",
    "fe80::/64",
]
TABLE = ["", "table 100", "table local", "table 1828716546", "table 1828716547", "table 4294967295"]
DAMAGE = st.one_of(
    words("ip addr", ["add", "del", "replace"], ADDRESS).flatmap(
        lambda said: PREFIX.flatmap(
            lambda prefix: words(
                said + prefix,
                ["", "peer 10.9.9.9", "peer fd99::9", "broadcast 10.0.42.2"],
                "dev",
                LINK,
                ["", "nodad", "scope 7", "valid_lft 1 preferred_lft 0", "metric 5", "noprefixroute"],
            )
        )
    ),
    words(
        "ip route",
        ["add", "append", "replace", "del"],
        ["", "blackhole", "unreachable", "prohibit", "throw", "local", "broadcast", "multicast", "anycast"],
        SUBNET,
        [
            "",
            "via 10.0.42.1",
            "via fd42::1",
            "via inet6 fd42::1",
            "nhid 7",
            "nhid 9",
            "encap seg6 mode encap segs fd42::1",
            "nexthop via 10.0.42.1 dev eth0 nexthop dev br9",
            "encap mpls 20 via 10.0.42.1",
            "src 10.0.42.2",
        ],
        ["", "dev eth0", "dev lo", "dev br9"],
        ["", "metric 0", "metric 4096", "metric 4294967295", "onlink", "tos 8"],
        TABLE,
        ["", "proto 109", "proto kernel"],
    ),
    words(
        ["ip rule", "ip -6 rule"],
        ["add", "del"],
        ["", "not"],
        [
            "from all",
            "from 10.1.2.3/8",
            "from 10.0.42.2",
            "from fd42::2",
            "from fd42::2/9",
            "to 10.0.42.0/24",
        ],
        [
            "",
            "ipproto tcp dport 5-9",
            "iif eth0",
            "oif eth9",
            "fwmark 1/3",
            "uidrange 1-2",
            "tos 8",
            "tun_id 5",
            "suppress_prefixlength 0",
            "suppress_ifgroup 3",
            "realms 3/4",
        ],
        [
            "table 100",
            "table local",
            "table 1828716546",
            "table 4294967295",
            "blackhole",
            "prohibit",
            "nop",
            "goto 40000",
        ],
        ["", "pref 0", "pref 32765", "pref 4294967295"],
        ["", "protocol 109"],
    ),
    st.sampled_from(
        [
            "ip nexthop add id 7 via 10.0.42.1 dev eth0",
            "ip nexthop add id 8 blackhole",
            "ip nexthop add id 9 group 7",
            "ip nexthop add id 9 group 7,5 type resilient buckets 32",
            "ip nexthop flush",
            "ip rule flush; ip -6 rule flush",
            "ip route flush table all; ip -6 route flush table all",
            "ip addr flush dev eth0",
            "ip link add br9 type bridge; ip link set br9 up",
            "ip addr add 10.99.0.1/24 dev br9; ip addr add fd99::1/64 dev br9",
            "ip link add vrf9 type vrf table 100; ip link set vrf9 up; ip link set eth0 master vrf9",
            "ip link set eth0 master br9",
            "ip link set eth0 nomaster",
            "ip link del br9",
            "ip link del eth0",
            "ip link add eth0 type bridge",
            "ip link add eth9 type veth peer name eth8",
            "ip link set eth9 up",
            "ip link set eth0 down",
            "ip link set eth0 down; ip link set eth0 name eth9",
            "ip link set eth0 down; ip link set eth0 name \"$(printf '\\377\\302 %%')\"",
            "ip link property add dev eth9 altname eth0",
            "ip link set eth0 alias \"$(printf '\\377\\376moorage:peer')\"",
            "ip link set eth0 address 02:42:0a:00:2a:03",
            "ip link set eth0 mtu 68",
            "ip link set eth0 mtu 65535",
            "ip link set eth0 arp off multicast off",
            "ip link set lo down",
            "ip link set lo down; ip link set lo name other",
            "ip link set eth0 addrgenmode none",
            "ip token set ::9 dev eth0",
            "ip neigh add 10.0.42.1 lladdr 02:00:00:00:00:09 dev eth0",
            "ip maddr add 33:33:00:00:00:05 dev eth0",
        ]
    ),
    words(
        "sysctl -qw",
        [
            "net.ipv6.conf.all.disable_ipv6",
            "net.ipv6.conf.eth0.disable_ipv6",
            "net.ipv6.conf.lo.disable_ipv6",
            "net.ipv6.conf.default.disable_ipv6",
            "net.ipv4.ip_forward",
            "net.ipv6.conf.all.forwarding",
            "net.ipv4.nexthop_compat_mode",
            "net.ipv6.route.max_size",
            "net.ipv6.conf.eth0.accept_ra",
            "net.ipv6.conf.all.keep_addr_on_down",
            "net.ipv4.conf.all.promote_secondaries",
            "net.ipv4.tcp_timestamps",
            "net.ipv6.conf.eth0.max_addresses",
            "net.ipv4.fib_multipath_hash_policy",
            "net.ipv6.conf.eth0.mtu",
        ],
    ).flatmap(lambda said: st.sampled_from([f"{said}={value}" for value in (0, 1, 2, 1280)])),
)


def others_are_put_right(links: HostLinks, interfaces: list[Interface]) -> None:
    links.ip("link", "set", port_name("peer"), "down")
    links.reconcile([NETWORK], interfaces)
    assert "UP" in links.ip("-br", "link", "show", port_name("peer"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(DAMAGE, min_size=1, max_size=25))
def test_whatever_root_in_a_container_does_is_its_own(lab: Lab, damage: list[str]) -> None:
    """After any sequence of commands another container is put right, by a successor too, and the one lets itself be
    detached, and another one in its place attached.
    """
    links = HostLinks(lab, count(step=60).__next__)  # so that nothing rests
    links.ensure_network(NETWORK)
    peer, web = links.interface("peer", 3), links.interface("web", 2)
    for each in (peer, web):
        links.attach(each, NETWORK)
    try:
        for command in damage:
            lab.run("web", ["sh", "-c", f"{{ {command}; }} 2>/dev/null || true"])
            others_are_put_right(links, [web, peer])
        successor = HostLinks(lab)
        try:
            others_are_put_right(successor, [web, peer])
        finally:
            successor.stop()
        links.detach("web")
        assert port_name("web") not in links.ip("link")
    finally:
        for name in ("web", "peer"):
            links.detach(name)
            lab.remove(name)
        links.stop()
