"""What users of the host, who may do nothing with the agent, can do to published ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agents import AgentProcess
from echo_server import ask
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.errors import Refused
from moorage.kernel.linux.nftables import Nftables
from strangers import stranger, tell

pytestmark = pytest.mark.system

CONNECT = """
import select, socket, sys
made = socket.socket()
made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
made.bind((sys.argv[1], 8080))
print("bound", flush=True)
sys.stdin.readline()
made.setblocking(False)
made.connect_ex((sys.argv[2], 5061))
print("connecting", flush=True)
select.select([], [made], [])
made.setblocking(True)
made.sendall(b"0.0.0.0 1 thief " + made.recv(100))
sys.stdin.read()
"""
"""Connects to a client's port from a published one."""

SEND = """
import socket, sys
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.bind((sys.argv[1], 8080))
try:
    made.sendto(b"x", (sys.argv[2], 5061))
except PermissionError:
    pass
print("sent", flush=True)
while True:
    said, whose = made.recvfrom(1000)
    made.sendto(b"0.0.0.0 1 thief " + said, whose)
"""


def ignore_connections_from_there(lab: Lab) -> None:
    """As firewalls of clients do with what is begun from outside."""
    nftables = lab.call("outside", Nftables)
    nftables.run(
        "add table inet f\nadd chain inet f i { type filter hook input priority 0; }\n"
        "add rule inet f i ct state new tcp sport 8080 drop\n"
    )
    nftables.close()


@pytest.mark.parametrize("proxy", ["always", "never"])
def test_a_clients_connection_is_the_containers(lab: Lab, tmp_path: Path, proxy: str) -> None:
    """Who has bound the port, and connects from there to a client, does not get what this client connects to it."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", proxy=proxy) as agent:
        netns = lab.container("web")
        lab.echo_server("web", "tcp", 80)
        agent.client.allocate("web", netns=netns, ports=["8080:80"] if proxy == "never" else [])
        thief = stranger(lab, CONNECT, HOST, OUTSIDE)
        if proxy == "always":
            try:
                agent.client.publish("web", ["8080:80"])
            except Refused:
                return
        ignore_connections_from_there(lab)
        assert tell(thief) == "connecting"
        client = lab.socket("outside")
        client.bind((OUTSIDE, 5061))
        client.connect((HOST, 8080))
        assert ask(client).server == "web"


def test_a_clients_datagrams_are_the_containers(lab: Lab, tmp_path: Path) -> None:
    """Who binds a port that has no listener, and sends from there to a client, hears nothing that this client sends."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", proxy="never") as agent:
        netns = lab.container("web")
        lab.echo_server("web", "udp", 80)
        agent.client.allocate("web", netns=netns, ports=["8080:80/udp"])
        stranger(lab, SEND, HOST, OUTSIDE)
        client = lab.socket("outside", kind=socket.SOCK_DGRAM)
        client.bind((OUTSIDE, 5061))
        client.connect((HOST, 8080))
        assert ask(client).server == "web"


@pytest.mark.parametrize("proxy", ["always", "never"])
@pytest.mark.parametrize(("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)], ids=["IPv4", "IPv6"])
def test_who_was_sent_something_before_is_seen_as_itself(
    lab: Lab, tmp_path: Path, host: str, outside: str, proxy: str
) -> None:
    """A client that a program of the host spoke to from a port, before it was published, is seen as itself."""
    with AgentProcess(lab, tmp_path, default_network=False) as agent:
        agent.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64", proxy=proxy)
        netns = lab.container("web")
        lab.echo_server("web", "udp", 80)
        agent.client.allocate("web", network="dual", netns=netns)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        client = lab.socket("outside", family, socket.SOCK_DGRAM)
        client.bind((outside, 5060))
        with lab.socket("host", family, socket.SOCK_DGRAM) as former:
            former.bind((host, 8080))
            former.sendto(b"x", (outside, 5060))
        assert client.recv(10) == b"x"
        agent.client.publish("web", ["8080:80/udp"])
        client.connect((host, 8080))
        assert ask(client)[:3:2] == (outside, "web")
