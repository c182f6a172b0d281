"""What others wrote into the host, and what former versions took, in front of a whole agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import AgentProcess, until
from lab import Lab
from moorage.kernel.linux.nfnetlink import ACK, REQUEST, Netlink, attribute, generic, message, nested
from moorage.store import Commit, PutNetwork, Store
from moorage.values import Network

pytestmark = pytest.mark.system

NASTY = b"\xff\x1b]0;x\x07\x1b[2J\n"
"""No UTF-8, and what a terminal would obey."""
COMM = b"\x1b[2J\nroot"


def forward_chain_called(lab: Lab, name: bytes) -> None:
    """Make a table and a chain of that name, whose policy drops what is forwarded."""
    create, inet, number = 0x400, 1, (lambda value: value.to_bytes(4, "big"))
    hook = nested(4, attribute(1, number(2)), attribute(2, number(5)))
    table = generic(inet) + attribute(1, name + b"\0")
    chain = generic(inet) + attribute(1, name + b"\0") + attribute(3, name + b"\0")
    chain += hook + attribute(5, number(0)) + attribute(7, b"filter\0")
    begin, end = (message(kind, REQUEST, 0, b"\0\0\0\x0a") for kind in (16, 17))
    parts = [
        message(10 << 8, REQUEST | create, 1, table),
        message(10 << 8 | 3, REQUEST | ACK | create, 2, chain),
    ]
    with lab.call("host", Netlink) as netlink:
        netlink.socket.send(b"".join([begin, *parts, end]))
        answer = netlink.socket.recv(1 << 16)
        assert int.from_bytes(answer[16:20], "little") == 0


def test_names_of_others_are_told_as_they_are(tmp_path: Path) -> None:
    """A chain with a name that is no text is in a warning of `status`, and in the log, on a plain line."""
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        forward_chain_called(lab, NASTY)
        until(lambda: agent.client.status().warnings)
        (warning,) = agent.client.status().warnings
        assert warning.startswith("chain \\udcff\\x1b]0;x\\x07\\x1b[2J\\n of nftables table inet \\udcff")
        assert warning.isprintable()
        assert [line["what"] for line in agent.log("forwarding_dropped")] == [warning]


def test_who_holds_a_port_is_named_plainly(tmp_path: Path) -> None:
    """A process may call itself what it likes: whoever is refused its port reads one line."""
    program = (
        "import socket, sys\n"
        f"open('/proc/self/comm', 'wb').write({COMM!r})\n"
        "sock = socket.create_server(('0.0.0.0', 8080))\n"
        "print(flush=True)\nsys.stdin.read()"
    )
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        holder = lab.popen("host", ["python3", "-c", program], stdin=-1, stdout=-1)
        assert holder.stdout is not None
        holder.stdout.readline()
        answered = agent.client
        with pytest.raises(Exception, match="port_in_use") as refused:
            answered.allocate("web", ports=["8080:80"])
        assert str(refused.value).isprintable()
        assert f"pid {holder.pid} (\\x1b[2J\\nroot)" in str(refused.value)


@pytest.mark.parametrize(
    ("bridge", "guarded"), [("n*", True), ("vpn+", True), ("n\\*", False), ('a"b', False)]
)
def test_a_network_of_a_former_version(tmp_path: Path, bridge: str, guarded: bool) -> None:
    """A bridge whose name is no longer taken goes on, guarded as any other; one that no rule can name takes nobody."""
    (tmp_path / "state").mkdir(mode=0o700)
    former = Network("odd", bridge, "10.0.50.0/24", "10.0.50.1", internal=True)
    store = Store.open(tmp_path / "state", "a-boot", lambda: 0.0)
    store.commit([Commit((PutNetwork(former),))])
    store.close()
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        repaired = agent.client.status().repaired
        path = lab.container("web")
        if guarded:
            agent.client.allocate("web", network="odd", netns=path)
            lab.echo_server("outside", "tcp", 80)
            lab.echo_server("host", "tcp", 80)
            assert lab.can_reach("web", ("10.0.50.1", 80))
            assert not lab.can_reach("web", ("10.77.0.2", 80), timeout=0.3)
        else:
            with pytest.raises(Exception, match="unsupported: no rule can name the bridge"):
                agent.client.allocate("web", network="odd", netns=path)
        agent.client.allocate("other", netns=lab.container("other"))
        assert agent.client.status().repaired == repaired, agent.log("repaired")
        agent.client.release("web")
        assert agent.client.remove_network("odd")


def test_a_bridge_that_is_a_pattern_is_refused(tmp_path: Path) -> None:
    """Nothing is made of it, in a dropping FORWARD neither."""
    with Lab() as lab, AgentProcess(lab, tmp_path) as agent:
        for name in ("+", "vpn+", "n\\*", "n*", "all", "default", "lo"):
            with pytest.raises(Exception, match="invalid: create_network: bridge is"):
                agent.client.create_network("net", bridge=name)
            with pytest.raises(Exception, match="invalid: allocate: ifname is"):
                agent.client.allocate("web", netns=lab.container(f"c{len(lab.containers)}"), ifname=name)
        assert agent.client.list() == []
        assert [network.name for network in agent.client.networks()] == ["default"]
