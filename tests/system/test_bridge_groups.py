"""What a container sends to the MACs that bridges keep for themselves (01:80:c2:00:00:00 to 0f): it passes by no rule.

The kernel's bridge hands such a frame, whatever its type, to the host as having come in by the port, unless the port
says to forward it as all else.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv6Address
from itertools import pairwise
from pathlib import Path

import pytest

import frames
import packets
from agents import AgentProcess, until
from frames import ARP, IP, IP6, arp, frame, icmp, icmp6, ip4
from installation import GATEWAY, VAULT, WEB, WEB6, Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.ctnetlink import GET
from moorage.kernel.linux.names import link_local, port_name
from moorage.kernel.linux.nfnetlink import Netlink, generic
from packets import Ends

pytestmark = pytest.mark.system

GROUPS = [f"01:80:c2:00:00:{last:02x}" for last in range(16)]
SERVICE, LAST = 7111, b"the last of these"
Frame = tuple[int, bytes]
FORGED = (
    (OUTSIDE, HOST),
    ("8.8.8.8", HOST),
    ("10.77.0.99", GATEWAY[WEB]),
    (OUTSIDE6, HOST6),
    ("fd77::99", HOST6),
)


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation on whose host nobody runs."""
    with installed(tmp_path_factory.mktemp("groups")) as made:
        yield made


def mac(lab: Lab, name: str) -> str:
    """That of a container's link."""
    return lab.run(name, ["ip", "-o", "link", "show", "eth0"]).split("link/ether ")[1].split()[0]


def say(lab: Lab, name: str, *said: Frame, groups: Sequence[str] = GROUPS) -> None:
    """Send each of these to each group, and a call to a port of its gateway's as the last."""
    own = mac(lab, name)
    frames.send(lab, name, "eth0", *(frame(own, *each, to) for each in said for to in groups))
    assert not lab.can_reach(name, (GATEWAY.get(VAULT if name == "vault" else WEB, HOST), 1))


@contextmanager
def listening(lab: Lab) -> Iterator[Callable[[], set[str]]]:
    """A service of the host's on both families; gives what tells from whom it has heard."""
    with lab.socket("host", socket.AF_INET6, socket.SOCK_DGRAM) as ear:
        ear.bind(("::", SERVICE))

        def sources() -> set[str]:
            found = set()
            ear.setblocking(False)
            with suppress(BlockingIOError):
                while True:
                    found.add(ear.recvfrom(2000)[1][0].removeprefix("::ffff:"))
            return found

        yield sources


def forged() -> list[Frame]:
    """Datagrams to a service of the host's in others' names."""
    return [
        (IP6 if ":" in to else IP, packets.udp(Ends(source, 53, to, SERVICE), b"x")) for source, to in FORGED
    ]


def hears_nobody(lab: Lab, name: str = "web") -> bool:
    """Whether a service of the host's hears nothing that this container says in others' names."""
    with listening(lab) as sources:
        say(lab, name, *forged())
        return sources() == set()


@pytest.mark.parametrize("name", ["web", "vault", "lone"])
def test_nobody_is_heard_in_anothers_name(at: Installation, name: str) -> None:
    """A datagram of a container's in the name of somebody outside reaches no service of the host, by any group."""
    assert hears_nobody(at.lab, name)


def test_it_is_heard_in_its_own_as_ever(at: Installation) -> None:
    """What is its own comes by the bridge, as if it were to any other group; pause frames (01) never come."""
    link = f"{link_local(mac(at.lab, 'web'))}%mg-dual"
    own = [
        (IP, packets.udp(Ends(WEB, 53, HOST, SERVICE), b"x")),
        (IP6, packets.udp(Ends(WEB6, 53, HOST6, SERVICE), b"x")),
    ]
    with listening(at.lab) as sources:
        say(at.lab, "web", *own, groups=GROUPS[1:2])
        assert sources() == set()
        say(at.lab, "web", *own, groups=GROUPS[2:])
        assert sources() <= {WEB, WEB6, link}


def test_it_makes_no_neighbours_and_no_connections(at: Installation) -> None:
    """The port of a container knows no neighbours, and what its frames claim to begin is no connection of a host's."""
    own = mac(at.lab, "web")
    asked = [(ARP, arp(1, own, f"20.0.0.{n}", HOST)) for n in range(1, 20)]
    begun = [(IP, packets.udp(Ends(f"20.9.8.{n}", 1000, HOST, 9), b"x")) for n in range(1, 20)]
    say(at.lab, "web", *asked, *begun)
    for family in ("-4", "-6"):
        assert not at.lab.run("host", ["ip", family, "neigh", "show", "nud", "all", "dev", port_name("web")])
    assert not any(bytes((20, 9, 8)) in each for each in at.lab.call("host", connections))


def connections() -> list[bytes]:
    """All that conntrack knows."""
    with Netlink() as netlink:
        return list(netlink.dump(GET, generic(0)))


@pytest.mark.parametrize("name", ["web", "vault"])
def test_it_is_no_router_of_the_hosts(at: Installation, name: str) -> None:
    """A host learns neither route nor address nor a shorter path of a container."""
    own = mac(at.lab, name)
    link = struct.pack("!BB", 1, 1) + bytes.fromhex(own.replace(":", ""))
    prefix = struct.pack("!BBBBIII", 3, 4, 64, 0xC0, 1800, 1800, 0) + IPv6Address("2001:db8:7::").packed
    advertised = struct.pack("!BBHII", 64, 0x08, 1800, 0, 0) + link + prefix
    about = packets.udp(Ends(HOST, 53, OUTSIDE, 80), b"hello")
    too_big = packets.icmp_error(Ends("20.0.0.1", 0, HOST, 0), about, mtu=576)
    say(at.lab, name, (IP6, icmp6(link_local(own), "ff02::1", 134, advertised)), (IP, too_big))
    told = at.lab.run("host", ["ip", "-6", "route", "show", "table", "all"])
    assert "2001:db8:7::" not in told
    assert f"default via {link_local(own)}" not in told
    assert "mtu" not in at.lab.run("host", ["ip", "route", "get", OUTSIDE])


def test_an_internal_network_has_no_way_out(at: Installation) -> None:
    """The host answers no echo of a container's to somebody else."""
    secret = b"a secret of the vault's"
    echoes = [
        (IP, ip4(OUTSIDE, HOST, 1, icmp(8, b"\0\1\0\1" + secret))),
        (IP6, icmp6(OUTSIDE6, HOST6, 128, b"\0\1\0\1" + secret)),
    ]
    with frames.heard(at.lab, "outside", "eth0") as ear:
        say(at.lab, "vault", *echoes)
        with at.lab.socket("host", kind=socket.SOCK_DGRAM) as last:
            last.sendto(LAST, (OUTSIDE, 9))
        assert not any(secret in each for each in frames.arrives(ear, LAST))


@pytest.mark.parametrize("guard", ["interface", "network"])
def test_an_adopted_bridge_hears_no_more(tmp_path: Path, guard: str) -> None:
    """Nor by a bridge of somebody else's that runs the spanning tree protocol and forwards some groups by itself.

    That protocol it hears of no container, nor do its other ports.
    """
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        kind = ("bridge", "stp_state", "1", "forward_delay", "200", "group_fwd_mask", "0x4008")
        lab.run("host", ["ip", "link", "add", "br7", "type", *kind])
        lab.run("host", ["ip", "address", "add", "10.0.43.1/24", "dev", "br7"])
        lab.run("host", ["ip", "link", "set", "br7", "up"])
        agent.client.create_network("dual", subnet="10.0.43.0/24", bridge="br7", guard=guard)
        for name, ip in (("web", WEB), ("peer", "10.0.43.3")):
            agent.client.allocate(name, network="dual", ip=ip, netns=lab.container(name))
        until(lambda: lab.run("host", ["bridge", "link", "show"]).count("state forwarding") == 2)
        assert hears_nobody(lab)
        own = mac(lab, "web")
        assert is_root(lab)
        # IEEE 802.1D, 9.3.1: of a root better than any other
        bridge = b"\0\1" + bytes.fromhex(own.replace(":", ""))
        bpdu = b"\x42\x42\x03" + bytes(5) + bridge + bytes(4) + bridge + b"\x80\1\0\0\x14\0\2\0\x0f\0"
        lldp = (frames.LLDP, b"discovered by nobody".ljust(46))
        last = ip4(WEB, "255.255.255.255", 17, frames.udp(9, 9, LAST))
        with ExitStack() as stack:
            ear = stack.enter_context(frames.heard(lab, "peer", "eth0"))
            said = [frame(own, *each, to) for each in ((len(bpdu), bpdu), lldp) for to in GROUPS]
            frames.send(lab, "web", "eth0", *said, frame(own, IP, last))
            found = frames.arrives(ear, LAST)
        assert not any(bpdu in each or lldp[1] in each for each in found)
        assert is_root(lab)


def is_root(lab: Lab) -> bool:
    """Whether the bridge takes itself for the root of its spanning tree."""
    told = lab.run("host", ["ip", "-d", "link", "show", "br7"]).split()
    known = dict(pairwise(told))
    return known["bridge_id"] == known["designated_root"]


def test_it_stays_so_whatever_becomes_of_the_agent(tmp_path: Path) -> None:
    """While the agent is dead or another takes over, and after a port was changed or left so by a former version."""
    with installed(tmp_path) as at:
        assert hears_nobody(at.lab)
        at.agent.kill()
        assert hears_nobody(at.lab)
        opened = ["ip", "link", "set", port_name("web"), "type", "bridge_slave", "group_fwd_mask", "0"]
        at.lab.run("host", opened)
        at.agent.start()
        assert hears_nobody(at.lab)
        at.agent.replace()
        assert hears_nobody(at.lab)
        with at.agent.events("repaired") as events:
            at.lab.run("host", opened)
            assert "group_fwd_mask" in str(events.named("repaired"))
        assert hears_nobody(at.lab)
