"""A second uplink for a lab's host, which a routing rule of its own belongs to, and a client that only it leads to.

    outside --eth0-- host --eth1-- 10.88.0.2, fd88::2 beyond (203.0.113.2, 2001:db8:2::2)

What the host says to the client of `beyond` by way of `outside` is lost there, as at a provider who does not carry
somebody else's addresses.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from echo_server import Answer, ask
from lab import Lab
from moorage.kernel.linux.policy import plan

UPLINK, UPLINK6 = "10.88.0.1", "fd88::1"
CLIENT, CLIENT6 = "203.0.113.2", "2001:db8:2::2"
TABLE = "100"
NETWORKS = str(plan.NETWORKS)

_WIRED = """
ip link add eth1 type veth peer name eth0 netns {beyond}
echo 0 > /proc/sys/net/ipv6/conf/eth1/accept_dad
ip link set eth1 up
ip address add 10.88.0.1/24 dev eth1
ip address add fd88::1/64 dev eth1 nodad
ip route add default via 10.88.0.2 dev eth1 table 100
ip route add default via fd88::2 dev eth1 table 100
"""
_BEYOND = """
echo 0 > /proc/sys/net/ipv6/conf/eth0/accept_dad
ip link set eth0 up
ip address add 10.88.0.2/24 dev eth0
ip address add fd88::2/64 dev eth0 nodad
ip address add 203.0.113.2/32 dev lo
ip address add 2001:db8:2::2/128 dev lo nodad
"""


def wire(lab: Lab) -> None:
    """Make the second uplink, with a table of its own that no rule leads to yet."""
    beyond = lab.container("beyond").rpartition("/")[2]
    lab.run("host", ["sh", "-ec", _WIRED.format(beyond=beyond)])
    lab.run("beyond", ["sh", "-ec", _BEYOND])


def rule(lab: Lab, *words: str, verb: str = "add", families: Sequence[str] = ("-4", "-6")) -> None:
    """Add or delete a routing rule of the host's; `SECOND` stands for the second uplink's address of each family."""
    address = {"-4": UPLINK, "-6": UPLINK6}
    for family in families:
        named = [word.replace("SECOND", address[family]) for word in words]
        lab.run("host", ["ip", family, "rule", verb, *named])


def rules_of_ours(lab: Lab) -> list[str]:
    """The routing rules that bear our number, and the routes of our table."""
    found = []
    for family in ("-4", "-6"):
        listed = lab.run("host", ["ip", "-details", family, "rule"]).splitlines()
        found += [line for line in listed if "proto 109" in line]
        found += lab.run("host", ["ip", family, "route", "show", "table", NETWORKS], check=False).splitlines()
    return found


def asked(lab: Lab, to: str, port: int, proto: str = "tcp", timeout: float = 1.0) -> Answer | OSError:
    """What the client of `beyond` is answered at that address of the host."""
    source = CLIENT6 if ":" in to else CLIENT
    family = socket.AF_INET6 if ":" in to else socket.AF_INET
    kind = socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM
    with lab.socket("beyond", family, kind) as made:
        made.settimeout(timeout)
        made.bind((source, 0))
        try:
            made.connect((to, port))
            return ask(made)
        except OSError as error:
            return error
