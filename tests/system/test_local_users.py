"""What users of the host, who may do nothing with the agent, can do to published ports."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from agents import AgentProcess
from echo_server import ask
from lab import HOST, OUTSIDE, Lab
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
