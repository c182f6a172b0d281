"""The peers that carry bytes by rules in the kernel: iptables' nftables kind as Docker uses it, and netavark."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from generations import OWN, Generation

import peers
from plane.packages import Missing
from plane.place import BRIDGE, GATEWAY, INSIDE, PREFIX, Stage

FIRST = 10_000
"""The first of the ports that only fill; those for TCP and UDP have the same numbers."""


@dataclass(frozen=True)
class Run:
    """A run of published ports. Those that fill have other numbers inside: each is a rule or an element of its own."""

    proto: str
    host: int
    inside: int
    count: int

    @property
    def spec(self) -> str:
        """In our notation."""
        if self.count == 1:
            return f"{self.host}:{self.inside}/{self.proto}"
        last = self.count - 1
        return f"{self.host}-{self.host + last}:{self.inside}-{self.inside + last}/{self.proto}"

    def __iter__(self) -> Iterator[tuple[str, int, int]]:
        """Port by port."""
        for at in range(self.count):
            yield self.proto, self.host + at, self.inside + at


def runs(port: int, published: int) -> list[Run]:
    """So many published ports, half of them TCP's: the last of each protocol is the measured one."""
    filling = published // 2 - 1
    fill = [Run(proto, FIRST, FIRST + 1, filling) for proto in ("tcp", "udp") if filling > 0]
    return [*fill, *(Run(proto, port, port, 1) for proto in ("tcp", "udp"))]


def docker_rules(published: Sequence[Run]) -> str:
    """The rules of Docker's bridge driver, as `iptables-restore` takes them."""
    ports = [port for run in published for port in run]
    translate = [
        f"-A DOCKER ! -i {BRIDGE} -p {proto} -m {proto} --dport {host} -j DNAT --to-destination {INSIDE}:{inside}"
        for proto, host, inside in ports
    ]
    accept = [
        f"-A DOCKER -d {INSIDE}/32 ! -i {BRIDGE} -o {BRIDGE} -p {proto} -m {proto} --dport {inside} -j ACCEPT"
        for proto, _, inside in ports
    ]
    return "\n".join([*_NAT, *translate, "COMMIT", *_FILTER, *accept, "COMMIT", ""])


_NAT = (
    "*nat",
    ":DOCKER - [0:0]",
    "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER",
    "-A OUTPUT ! -d 127.0.0.0/8 -m addrtype --dst-type LOCAL -j DOCKER",
    f"-A POSTROUTING -s {GATEWAY}/{PREFIX} ! -o {BRIDGE} -j MASQUERADE",
)
_FILTER = (
    "*filter",
    ":DOCKER - [0:0]",
    f"-A FORWARD -o {BRIDGE} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    f"-A FORWARD -o {BRIDGE} -j DOCKER",
    f"-A FORWARD -i {BRIDGE} -j ACCEPT",
)


def iptables(stage: Stage, published: Sequence[Run]) -> None:
    """Write all rules at once. Raises Missing."""
    require(OWN)
    stage.host.run("iptables-restore", text=docker_rules(published), env=OWN.environment())


def netavark(stage: Stage, home: Path, published: Sequence[Run], generation: Generation) -> None:
    """Connect the container and publish its ports, as podman does. Raises Missing."""
    require(generation)
    argv = (str(generation.path(peers.NETAVARK)), "--config", str(home), "setup", str(stage.container.path))
    stage.host.run(*argv, text=json.dumps(_options(published)), env=generation.environment())


def require(generation: Generation) -> None:
    """Raises Missing where they were not unpacked."""
    if not generation.path(peers.NETAVARK).exists():
        names = f"iptables and netavark{generation.suffix}"
        raise Missing(f"{names} are left out: apt-get download did not work")


def _options(published: Sequence[Run]) -> dict[str, object]:
    ports = [
        {"host_ip": "", "host_port": host, "container_port": inside, "protocol": proto, "range": 1}
        for run in published
        for proto, host, inside in run
    ]
    network = {
        "name": "bench",
        "id": "b" * 64,
        "driver": "bridge",
        "network_interface": BRIDGE,
        "subnets": [{"subnet": f"10.97.0.0/{PREFIX}", "gateway": GATEWAY}],
        "ipv6_enabled": False,
        "internal": False,
        "dns_enabled": False,
        "ipam_options": {"driver": "host-local"},
    }
    return {
        "container_id": "c" * 64,
        "container_name": "bench",
        "port_mappings": ports,
        "networks": {"bench": {"interface_name": "eth0", "static_ips": [INSIDE]}},
        "network_info": {"bench": network},
    }
