"""What a container says with a VLAN's tag around it, on a bridge whose uplink carries VLANs: nobody hears it."""

from __future__ import annotations

import signal
import struct
from pathlib import Path

import pytest

import frames
import packets
from agents import AgentProcess
from frames import ARP, IP, IP6, arp, frame, ip4, tagged, udp
from installation import WEB, WEB6
from lab import Lab
from packets import SYN, Ends

pytestmark = pytest.mark.system

PROVIDER, FORMER = 0x88A8, 0x9100  # IEEE 802.1ad, and what was written before it for the same
SAID, LAST = b"into the VLAN", b"the last of these"


def said(mac: str) -> list[tuple[int, bytes]]:
    """What a container may say without a tag."""
    return [
        (IP, packets.udp(Ends(WEB, 9, "255.255.255.255", 9), SAID)),
        (IP, packets.tcp(Ends(WEB, 9, "10.0.43.9", 9), SYN, payload=SAID)),
        (IP6, packets.udp(Ends(WEB6, 9, "ff02::1", 9), SAID)),
        (ARP, arp(1, mac, WEB, "10.0.43.9") + SAID),
    ]


def around(vlan: int, kind: int, payload: bytes) -> list[tuple[int, bytes]]:
    """With every tag that there is, and with two."""
    inner = tagged(vlan, kind, payload)
    return [
        inner,
        (PROVIDER, inner[1]),
        (FORMER, inner[1]),
        tagged(0, *inner),
        (PROVIDER, struct.pack("!HH", vlan, frames.VLAN) + inner[1]),
    ]


def hears(lab: Lab) -> bool:
    """Whether a machine at the uplink hears anything of what `web` says with a tag; it hears what has none."""
    own = lab.run("web", ["ip", "-o", "link", "show", "eth0"]).split("link/ether ")[1].split()[0]
    last = ip4(WEB, "255.255.255.255", 17, udp(9, 9, LAST))
    tries = [each for vlan in (0, 1, 100, 4095) for what in said(own) for each in around(vlan, *what)]
    with frames.heard(lab, "trunk", "eth0") as ear:
        frames.send(lab, "web", "eth0", *(frame(own, *each) for each in tries), frame(own, IP, last))
        return any(SAID in each for each in frames.arrives(ear, LAST))


def adopt(lab: Lab, agent: AgentProcess, guard: str) -> None:
    """A network of a bridge that has an uplink, which is a trunk."""
    lab.run("host", ["ip", "link", "add", "br7", "type", "bridge"])
    lab.run("host", ["ip", "address", "add", "10.0.43.1/24", "dev", "br7"])
    trunk = Path(lab.container("trunk")).name
    lab.run("host", ["ip", "link", "add", "up0", "type", "veth", "peer", "name", "eth0", "netns", trunk])
    lab.run("host", ["ip", "link", "set", "up0", "master", "br7", "up"])
    lab.run("host", ["ip", "link", "set", "br7", "up"])
    lab.run("trunk", ["ip", "link", "set", "eth0", "up"])
    asked = {"subnet": "10.0.43.0/24", "subnet6": "fd43::/64", "bridge": "br7", "guard": guard}
    agent.client.create_network("dual", **asked)
    agent.client.allocate("web", network="dual", ip=WEB, ipv6=WEB6, netns=lab.container("web"))


@pytest.mark.parametrize("guard", ["interface", "network"])
def test_no_vlan_hears_a_container(tmp_path: Path, guard: str) -> None:
    """Whatever the guard, the tag and what is inside, also while the agent is dead and when another takes over."""
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        adopt(lab, agent, guard)
        assert not hears(lab)
        agent.kill()
        assert not hears(lab)
        agent.start()
        agent.replace(signal.SIGKILL)
        assert not hears(lab)
