"""A host with an agent, three networks and their containers, as most tests of traffic want it.

    default  10.0.42.0/24               moorage0   lone
    dual     10.0.43.0/24, fd43::/64    mg-dual    web, peer
    sealed   10.0.44.0/24, fd44::/64    mg-sealed  vault, guest   (internal)

The host has a second address of each family. Every container, and `outside`, answers on TCP and UDP port 80;
the first of each network also on 81 and 82, which it publishes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents import AgentProcess
from echo_server import EchoServer
from lab import Lab

SECOND, SECOND6 = "10.77.0.3", "fd77::3"
LONE, WEB, PEER, VAULT, GUEST = "10.0.42.2", "10.0.43.2", "10.0.43.3", "10.0.44.2", "10.0.44.3"
WEB6, PEER6, VAULT6, GUEST6 = "fd43::2", "fd43::3", "fd44::2", "fd44::3"
GATEWAY = {LONE: "10.0.42.1", WEB: "10.0.43.1", WEB6: "fd43::1", VAULT: "10.0.44.1", VAULT6: "fd44::1"}

PROTOCOLS = ("tcp", "udp")
PORTS = {
    "lone": ("8081:80", "[::1]:8090:80", f"[{SECOND6}]:8095:80"),
    "web": (
        *("8080:80", "8100-8102:80-82", "127.0.0.1:8084:80", "[::1]:8084:80"),
        *(f"{SECOND}:8091:80", f"[{SECOND6}]:8091:80", "0.0.0.0:8092:80", "[::]:8093:80"),
    ),
    "vault": ("8082:80",),
}


class Installation:
    """The lab and its agent, with the containers above attached and their ports published."""

    def __init__(self, lab: Lab, agent: AgentProcess) -> None:
        """Make networks and containers; the agent runs."""
        self.lab, self.agent, self.client = lab, agent, agent.client
        lab.run("host", ["ip", "address", "add", f"{SECOND}/24", "dev", "eth0"])
        # deprecated, so that it is never chosen as a source
        spare = ["ip", "address", "add", f"{SECOND6}/64", "dev", "eth0", "nodad", "preferred_lft", "0"]
        lab.run("host", spare)
        self.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
        self.client.create_network("sealed", subnet="10.0.44.0/24", subnet6="fd44::/64", internal=True)
        self.add("lone", "default", LONE, (80,))
        self.add("web", "dual", WEB, (80, 81, 82), ipv6=WEB6)
        self.add("peer", "dual", PEER, (80,), ipv6=PEER6)
        self.add("vault", "sealed", VAULT, (80,), ipv6=VAULT6)
        self.add("guest", "sealed", GUEST, (80,), ipv6=GUEST6)
        self.serve("outside", 80)

    def add(
        self, name: str, network: str, ip: str | None, serving: tuple[int, ...], **asked: Any
    ) -> list[EchoServer]:
        """Start a container: attached, its ports published for both protocols, and answering on `serving`."""
        netns = self.lab.container(name)
        ports = [f"{spec}/{proto}" for spec in PORTS.get(name, ()) for proto in PROTOCOLS]
        self.client.allocate(name, network=network, ip=ip, netns=netns, ports=ports, **asked)
        return [server for port in serving for server in self.serve(name, port)]

    @contextmanager
    def container(
        self, name: str, network: str = "dual", ip: str | None = None, **asked: Any
    ) -> Iterator[str]:
        """A container that answers on port 80, for the time of a block; gives its name."""
        servers = self.add(name, network, ip, (80,), **asked)
        try:
            yield name
        finally:
            for server in servers:
                server.close()
            self.client.release(name)
            self.lab.remove(name)

    def serve(self, name: str, port: int) -> list[EchoServer]:
        """Answer on that port there, of both protocols."""
        return [self.lab.echo_server(name, proto, port) for proto in PROTOCOLS]


@contextmanager
def installed(directory: Path, **config: Any) -> Iterator[Installation]:
    """An installation with these configuration keys, taken down at the end."""
    with Lab() as lab, AgentProcess(lab, directory, subnet="10.0.42.1/24", **config) as agent:
        yield Installation(lab, agent)
