"""What root in a container sends in another's name, inside its own network: nobody hears it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import pytest

import frames
import packets
from agents import AgentProcess, until
from frames import ALL_NODES, ARP, EVERYBODY, IP, IP6, LLDP, arp, frame, icmp, icmp6, ip4, ip6, tagged, udp
from lab import OUTSIDE, Lab
from moorage.kernel.linux import elements
from moorage.kernel.linux.names import bridge_mac, link_local, port_name
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import Nftables
from moorage.kernel.linux.ruleset import GUARD
from moorage.kernel.protocol import Element
from packets import SYN, Ends

pytestmark = pytest.mark.system

WEB, PEER, GATEWAY = "10.0.43.2", "10.0.43.3", "10.0.43.1"
WEB6, PEER6, GATEWAY6 = "fd43::2", "fd43::3", "fd43::1"
MAC, PEER_MAC = "02:42:0a:00:2b:02", "02:42:0a:00:2b:03"
OWN_LINK, PEER_LINK = link_local(MAC), link_local(PEER_MAC)
GROUP, NODES = "ff02::1", "ff02::1"


def nd(source: str, kind: int, target: str, option: str = MAC) -> bytes:
    """A neighbour's question (135) or answer (136) about `target`."""
    flags = 0x60000000 if kind == 136 else 0
    link = struct.pack("!BB", 2 if kind == 136 else 1, 1) + bytes.fromhex(option.replace(":", ""))
    return icmp6(source, NODES, kind, struct.pack("!I", flags) + IPv6Address(target).packed + link)


def advertisement(source: str) -> bytes:
    """A router's, for half an hour."""
    return icmp6(source, NODES, 134, struct.pack("!BBHII", 64, 0, 1800, 0, 0))


def redirect6(source: str) -> bytes:
    """Says that a way out is by the sender."""
    return icmp6(source, WEB6, 137, bytes(4) + IPv6Address(source).packed + IPv6Address("fd99::1").packed)


def link(mac: str, kind: int = 1) -> bytes:
    """An option that says the sender's MAC (1), or that of whom is asked for (2)."""
    return struct.pack("!BB", kind, 1) + bytes.fromhex(mac.replace(":", ""))


def said(kind: int, *options: bytes, source: str = WEB6) -> tuple[int, bytes]:
    """A frame's type and a question for routers (133), for a neighbour (135) or an answer (136) with these options."""
    about = b"" if kind == 133 else IPv6Address(WEB6 if kind == 136 else GATEWAY6).packed
    return IP6, icmp6(source, NODES, kind, bytes(4) + about + b"".join(options))


NONCE = b"\x0e\x01" + b"nonce!"
PROVIDER = 0x88A8  # IEEE 802.1ad
TO_ALL6 = {"to": ALL_NODES}
OTHERS: dict[str, tuple[int, bytes]] = {
    "answers for the gateway": (ARP, arp(2, MAC, GATEWAY, PEER)),
    "answers for a neighbour": (ARP, arp(2, MAC, PEER, GATEWAY)),
    "asks as the gateway": (ARP, arp(1, MAC, GATEWAY, PEER)),
    "announces the gateway": (ARP, arp(1, MAC, GATEWAY, GATEWAY)),
    "answers with another's MAC": (ARP, arp(2, PEER_MAC, WEB, GATEWAY)),
    "takes a neighbour's address": (ARP, arp(1, MAC, "0.0.0.0", PEER)),  # noqa: S104 - as a probe has it
    "sends as a neighbour": (IP, ip4(PEER, "255.255.255.255", 17, udp(9, 9))),
    "sends as the gateway": (IP, ip4(GATEWAY, "255.255.255.255", 17, udp(9, 9))),
    "sends as nobody": (IP, ip4("0.0.0.0", "255.255.255.255", 17, udp(9, 9))),  # noqa: S104 - a source
    "calls as a neighbour": (IP, packets.tcp(Ends(PEER, 9, GATEWAY, 9), SYN)),
    "sends as a neighbour, IPv6": (IP6, ip6(PEER6, GROUP, 17, udp(9, 9))),
    "sends as the gateway, IPv6": (IP6, ip6(GATEWAY6, GROUP, 17, udp(9, 9))),
    "sends as a neighbour's link": (IP6, ip6(PEER_LINK, GROUP, 17, udp(9, 9))),
    "answers for the gateway, IPv6": (IP6, nd(WEB6, 136, GATEWAY6)),
    "answers for a neighbour, IPv6": (IP6, nd(OWN_LINK, 136, PEER6)),
    "answers for a neighbour's link": (IP6, nd(OWN_LINK, 136, PEER_LINK)),
    "takes a neighbour's address, IPv6": (IP6, nd("::", 135, PEER6)),
    "gives an address": (IP, ip4(WEB, "255.255.255.255", 17, udp(67, 68))),
    "gives an address, IPv6": (IP6, ip6(OWN_LINK, GROUP, 17, udp(547, 546))),
    "gives an address from elsewhere": (IP, ip4(WEB, "255.255.255.255", 17, udp(1067, 68))),
    "gives an address from elsewhere, IPv6": (IP6, ip6(OWN_LINK, GROUP, 17, udp(1547, 546))),
    "gives an address as a client": (IP, ip4(WEB, "255.255.255.255", 17, udp(68, 68))),
    "gives an address as a client, IPv6": (IP6, ip6(WEB6, GROUP, 17, udp(546, 546))),
    "gives an address behind options": (
        IP6,
        frames.behind_options(ip6(OWN_LINK, GROUP, 17, udp(1547, 546))),
    ),
    "leads a client's question on": (IP, ip4(WEB, "255.255.255.255", 17, udp(67, 67))),
    "speaks of its own kind": (0x88B5, b"experimental"),
    "speaks in a VLAN": tagged(7, ARP, arp(2, MAC, GATEWAY, PEER)),
}
"""What a container sends that has its own addresses alone, from its own MAC."""
NEVER: dict[str, tuple[int, bytes]] = {
    "answers behind options": (IP6, frames.behind_options(nd(WEB6, 136, GATEWAY6))),
    "asks with another's MAC": said(135, link(PEER_MAC)),
    "asks with the MAC of all": said(135, link(EVERYBODY)),
    "asks with another's MAC at last": said(135, NONCE, link(PEER_MAC)),
    "asks with its own MAC and another's": said(135, link(MAC), link(PEER_MAC)),
    "asks with another's MAC behind options": (IP6, frames.behind_options(said(135, link(PEER_MAC))[1])),
    "asks with another's MAC in a longer option": said(135, b"\x01\x02" + link(PEER_MAC)[2:] + bytes(8)),
    "asks with another's MAC by its link": said(135, link(PEER_MAC), source=OWN_LINK),
    "answers with another's MAC, IPv6": said(136, link(PEER_MAC, 2)),
    "answers with the MAC of all, IPv6": said(136, link(EVERYBODY, 2)),
    "answers with another's MAC at last": said(136, link(MAC), link(PEER_MAC, 2)),
    "asks for routers with another's MAC": said(133, link(PEER_MAC)),
    "asks for routers with another's MAC at last": said(133, NONCE, link(PEER_MAC)),
    "asks for routers with another's MAC behind options": (
        IP6,
        frames.behind_options(said(133, link(PEER_MAC))[1]),
    ),
    "advertises a router": (IP6, advertisement(OWN_LINK)),
    "advertises a router behind options": (IP6, frames.behind_options(advertisement(OWN_LINK))),
    "advertises a router in the VLAN of none": tagged(0, IP6, advertisement(OWN_LINK)),
    "advertises a router in two": tagged(0, *tagged(0, IP6, advertisement(OWN_LINK))),
    "redirects, IPv6": (IP6, redirect6(OWN_LINK)),
    "redirects": (IP, ip4(WEB, PEER, 1, icmp(5))),
    "advertises a router, IPv4": (IP, ip4(WEB, PEER, 1, icmp(9))),
    **{
        f"{what}, tagged {how}": wrap(*said)
        for how, wrap in {
            "with a VLAN": lambda *said: tagged(7, *said),
            "with none": lambda *said: tagged(0, *said),
            "by a provider": lambda *said: (PROVIDER, tagged(7, *said)[1]),
            "twice": lambda *said: (PROVIDER, tagged(7, *tagged(8, *said))[1]),
            "twice with none": lambda *said: tagged(0, *tagged(0, *said)),
        }.items()
        for what, said in {
            "sends": (IP, ip4(WEB, "255.255.255.255", 17, udp(9, 9))),
            "calls": (IP, packets.tcp(Ends(WEB, 9, PEER, 9), SYN)),
            "asks": (ARP, arp(1, MAC, WEB, GATEWAY)),
            "sends, IPv6": (IP6, ip6(WEB6, GROUP, 17, udp(9, 9))),
            "asks, IPv6": (IP6, nd(WEB6, 135, PEER6)),
            "speaks of its own kind": (0x88B5, b"experimental"),
        }.items()
    },
    "sends from elsewhere": (IP, ip4("10.0.42.2", "255.255.255.255", 17, udp(9, 9))),
    "answers for elsewhere": (ARP, arp(2, MAC, OUTSIDE, PEER)),
    "sends from elsewhere, IPv6": (IP6, ip6("fd99::2", GROUP, 17, udp(9, 9))),
}
"""What no container may send at all."""
HELD = (
    *("gives an address", "gives an address from elsewhere", "gives an address from elsewhere, IPv6"),
    *("sends, tagged with a VLAN", "sends, IPv6, tagged with none", "calls, tagged by a provider"),
)
"""What of it is tried again where no agent runs."""
OWN: dict[str, tuple[int, bytes]] = {
    "asks": (ARP, arp(1, MAC, WEB, GATEWAY)),
    "answers": (ARP, arp(2, MAC, WEB, PEER)),
    "announces itself": (ARP, arp(1, MAC, WEB, WEB)),
    "takes its own address": (ARP, arp(1, MAC, "0.0.0.0", WEB)),  # noqa: S104 - as a probe has it
    "asks for an address": (IP, ip4("0.0.0.0", "255.255.255.255", 17, udp(68, 67))),  # noqa: S104 - DHCP
    "asks for its address again": (IP, ip4(WEB, "255.255.255.255", 17, udp(68, 67))),
    "asks for an address, IPv6": (IP6, ip6(OWN_LINK, "ff02::1:2", 17, udp(546, 547))),
    "calls from a client's port": (IP, packets.tcp(Ends(WEB, 68, PEER, 68), SYN)),
    "sends": (IP, ip4(WEB, "255.255.255.255", 17, udp(9, 9))),
    "sends by another protocol": (IP, ip4(WEB, "255.255.255.255", 89, bytes(24))),
    "pings": (IP, ip4(WEB, PEER, 1, icmp(8))),
    "calls": (IP, packets.tcp(Ends(WEB, 9, PEER, 9), SYN)),
    "sends, IPv6": (IP6, ip6(WEB6, GROUP, 17, udp(9, 9))),
    "sends by its link": (IP6, ip6(OWN_LINK, GROUP, 17, udp(9, 9))),
    "asks, IPv6": (IP6, nd(WEB6, 135, PEER6)),
    "answers, IPv6": (IP6, nd(WEB6, 136, WEB6)),
    "answers by its link": (IP6, nd(OWN_LINK, 136, OWN_LINK)),
    "takes its own address, IPv6": (IP6, nd("::", 135, WEB6)),
    "says what it hears": (IP6, icmp6("::", "ff02::16", 143, bytes(4))),
    "asks for routers": (IP6, icmp6(OWN_LINK, "ff02::2", 133, bytes(4))),
    "asks for routers with its MAC": said(133, link(MAC), source=OWN_LINK),
    "asks without a MAC": said(135),
    "asks with a nonce": said(135, link(MAC), NONCE),
    "answers without a MAC": said(136),
    "takes its own address with a nonce": (
        IP6,
        icmp6("::", NODES, 135, bytes(4) + IPv6Address(WEB6).packed + NONCE),
    ),
}
"""What is its own."""


@dataclass
class Inside:
    """A network with `web`, whose root is hostile, and `peer`."""

    lab: Lab
    agent: AgentProcess
    bridge: str

    def passes(self, kind: int, payload: bytes, source: str = MAC, to: str = EVERYBODY) -> bool:
        """Whether a frame of web's is heard: by the host, or by the neighbour; by both or neither, if it is to all."""
        last = ip4(WEB, "255.255.255.255", 17, udp(9, 9, b"the last of these"))
        sent = frame(source, kind, payload, to)
        with ExitStack() as stack:
            ears = [
                stack.enter_context(frames.heard(self.lab, *where))
                for where in (("peer", "eth0"), ("host", self.bridge))
            ]
            frames.send(self.lab, "web", "eth0", sent, frame(MAC, IP, last))
            found = [
                any(payload[-24:] in each for each in frames.arrives(ear, b"the last of these"))
                for ear in ears
            ]
        assert found[0] == found[1] or to != EVERYBODY, found
        return any(found)

    def macs(self) -> int:
        """How many the bridge knows."""
        return len(self.lab.run("host", ["bridge", "fdb", "show", "br", self.bridge]).splitlines())


def inside(lab: Lab, agent: AgentProcess, **asked: Any) -> Inside:
    made = agent.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64", **asked)
    for name, ip, mac in (("web", WEB, MAC), ("peer", PEER, PEER_MAC)):
        ipv6 = WEB6 if name == "web" else PEER6
        agent.client.allocate(name, network="dual", ip=ip, ipv6=ipv6, mac=mac, netns=lab.container(name))
        lab.echo_server(name, "tcp", 80)
    return Inside(lab, agent, made.bridge)


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A network as it is unless somebody says otherwise."""
    with Lab() as lab, AgentProcess(lab, tmp_path_factory.mktemp("strict")) as agent:
        yield inside(lab, agent)


@pytest.fixture(scope="module")
def loose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A network whose containers send with any address of it."""
    with Lab() as lab, AgentProcess(lab, tmp_path_factory.mktemp("loose")) as agent:
        yield inside(lab, agent, guard="network")


@pytest.fixture(scope="module")
def adopted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """A network on a bridge of somebody else's, which hears routers, and runs the spanning tree protocol."""
    with Lab() as lab, AgentProcess(lab, tmp_path_factory.mktemp("adopted")) as agent:
        lab.run(
            "host", ["ip", "link", "add", "br7", "type", "bridge", "stp_state", "1", "forward_delay", "200"]
        )
        lab.run("host", ["ip", "address", "add", f"{GATEWAY}/24", "dev", "br7"])
        lab.run("host", ["ip", "link", "set", "br7", "up"])
        made = inside(lab, agent, bridge="br7")
        until(
            lambda: (
                lab.run("host", ["bridge", "link", "show", "master", "br7"]).count("state forwarding") == 2
            )
        )
        yield made


@pytest.mark.parametrize("what", [*OTHERS, *NEVER])
def test_nobody_hears_what_is_not_its_own(strict: Inside, what: str) -> None:
    """A frame in somebody else's name, or one that would lead others astray, reaches neither host nor neighbour."""
    assert not strict.passes(*(OTHERS | NEVER)[what])


@pytest.mark.parametrize("what", OWN)
def test_its_own_is_heard(strict: Inside, what: str) -> None:
    """What a container has to say of itself reaches host and neighbour, but not from another's MAC."""
    assert strict.passes(*OWN[what])
    assert not strict.passes(*OWN[what], source=PEER_MAC)
    assert not strict.passes(*OWN[what], source=bridge_mac(strict.bridge))


@pytest.mark.parametrize("what", OTHERS)
def test_a_network_may_trust_its_containers(loose: Inside, what: str) -> None:
    """With the guard "network" any address of it will do, from the container's own MAC."""
    as_nobody = what in {"sends as nobody", "answers with another's MAC", "speaks in a VLAN"}
    assert loose.passes(*OTHERS[what]) != as_nobody
    assert not loose.passes(*OTHERS[what], source=PEER_MAC)


@pytest.mark.parametrize("what", NEVER)
def test_what_leads_others_astray_is_heard_nowhere(loose: Inside, what: str) -> None:
    """Routers' advertisements, redirects and other networks' addresses are dropped on such a network as well."""
    assert not loose.passes(*NEVER[what])


@pytest.mark.parametrize("what", OWN)
def test_its_own_is_heard_there_too(loose: Inside, what: str) -> None:
    """Nothing that a strict network lets pass is missing."""
    assert loose.passes(*OWN[what])


@pytest.mark.parametrize("to", [EVERYBODY, "01:80:c2:00:00:00", "01:80:c2:00:00:0e", PEER_MAC])
def test_a_bridge_learns_no_macs_of_a_containers(
    strict: Inside, loose: Inside, adopted: Inside, to: str
) -> None:
    """However many MACs a container sends with, to whomever, the bridge knows as many as before."""
    flood = [frame(f"02:00:00:00:{n >> 8:02x}:{n & 255:02x}", LLDP, bytes(46), to) for n in range(2000)]
    for it in (strict, loose, adopted):
        before = it.macs()
        frames.send(it.lab, "web", "eth0", *flood)
        assert it.passes(*OWN["asks"])
        assert it.macs() == before


@pytest.mark.parametrize(
    "what", ["advertises a router", "advertises a router in the VLAN of none", "redirects, IPv6"]
)
def test_a_host_hears_no_router_of_an_adopted_bridge(adopted: Inside, what: str) -> None:
    """A host that listens to routers on its own bridge hears none that is a container, and goes on listening."""
    assert not adopted.passes(*NEVER[what], to=ALL_NODES)
    routes = adopted.lab.run("host", ["ip", "-6", "route", "show", "default", "dev", "br7"])
    assert "proto ra" not in routes
    assert adopted.lab.run("host", ["sysctl", "-n", "net.ipv6.conf.br7.accept_ra"]).strip() == "1"


def test_neighbours_believe_the_others_alone(strict: Inside) -> None:
    """Whatever was tried, host and neighbour know gateway and each other by their own MACs."""
    frames.send(strict.lab, "web", "eth0", *(frame(MAC, *each) for each in OTHERS.values()))
    for name, to in (("peer", GATEWAY), ("peer", GATEWAY6), ("host", PEER), ("host", PEER6)):
        if name == "host":
            assert strict.lab.connect("host", (to, 80)).server == "peer"
        else:
            assert not strict.lab.can_reach("peer", (to, 1))  # which asks who that is
        known = strict.lab.run(name, ["ip", "neigh", "show", to])
        assert MAC not in known
    for server, address in (("peer", PEER), ("peer", PEER6)):
        assert strict.lab.connect("web", (address, 80)).server == server


@pytest.mark.parametrize("to", [PEER_MAC, EVERYBODY])
def test_its_address_is_at_its_own_mac(strict: Inside, loose: Inside, to: str) -> None:
    """What it says of itself leads nothing that is for it to a neighbour's link, or to all."""
    for it in (strict, loose):
        frames.send(it.lab, "web", "eth0", frame(MAC, *said(135, link(to)), "33:33:ff:00:00:01"))
        assert it.passes(*OWN["asks"])
        assert to not in it.lab.run("host", ["ip", "-6", "neigh", "show", WEB6, "dev", it.bridge])
        it.lab.run("host", ["ip", "-6", "neigh", "flush", "dev", it.bridge])


def test_it_holds_while_nobody_runs(tmp_path: Path) -> None:
    """Rules and what the bridge knows stay while the agent is dead, are put right, and go with the container."""
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        it = inside(lab, agent)
        forged, own = OTHERS["answers for the gateway"], OWN["asks"]
        held = [(OTHERS | NEVER)[what] for what in HELD]
        agent.kill()
        assert not any(it.passes(*each) for each in held)
        assert (it.passes(*forged), it.passes(*own)) == (False, True)
        agent.start()
        agent.replace()
        assert not any(it.passes(*each) for each in held)
        assert (it.passes(*forged), it.passes(*own)) == (False, True)
        run = lab.call("host", Nftables).run
        for command in ("delete table {}", "flush set {} own4", "flush chain {} sent"):
            with agent.events("repaired") as events:
                run(command.format("bridge moorage"))
                events.named("repaired")
            assert (it.passes(*forged), it.passes(*own)) == (False, True)
        before = it.macs()
        with agent.events("repaired") as events:
            lab.run("host", ["bridge", "fdb", "del", MAC, "dev", port_name("web"), "master"])
            events.named("repaired")
        assert it.macs() == before
        agent.client.detach("web")
        agent.client.publish("peer", ["80"])  # done by whoever takes out web's elements, after that
        assert {each.key[1] for each in lab.call("host", guarded) if len(each.key) > 1} == {PEER_MAC}
        agent.terminate()
        assert agent.down().returncode == 0
        assert not lab.call("host", guarded)
        assert "moorage" not in lab.call("host", tables)


def guarded() -> set[Element]:
    """The elements of our table of bridges."""
    with Netlink() as netlink:
        return elements.read(netlink, GUARD)


def tables() -> str:
    """All that nftables has, as a text."""
    nftables = Nftables()
    try:
        return str(nftables.list("tables"))
    finally:
        nftables.close()
