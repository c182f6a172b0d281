"""Host ports that others hold, and those that outgoing connections would be given."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess
from lab import HOST, Lab
from moorage import Refused

pytestmark = pytest.mark.system

RESERVED = "net.ipv4.ip_local_reserved_ports"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host whose outgoing connections are given 50000 to 50009, of which somebody reserved 50007."""
    with Lab() as made:
        made.run("host", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50009", f"{RESERVED}=50007"])
        yield made


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that gives automatic ports from 50000 to 50009."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", port_range="50000-50009") as made:
        yield made


def reserved(lab: Lab) -> str:
    return lab.run("host", ["sysctl", "-n", RESERVED]).strip()


def test_published_ports_are_reserved(lab: Lab, agent: AgentProcess) -> None:
    """Published ports of the ephemeral range are named in the sysctl until they go; others' entries stay."""
    agent.client.allocate("web", ports=["50003:80", "50003-50004:80-81/udp", "8080:80"])
    assert reserved(lab) == "50003-50004,50007"
    lab.run("host", ["sysctl", "-qw", f"{RESERVED}=50003-50004,50007,50009"])  # somebody adds one

    agent.replace()
    assert reserved(lab) == "50003-50004,50007,50009"
    agent.client.unpublish("web", ["50003:80"])
    assert reserved(lab) == "50003-50004,50007,50009"  # by UDP
    agent.client.release("web")
    assert reserved(lab) == "50007,50009"


def test_outgoing_connections_are_not_given_published_ports(lab: Lab, agent: AgentProcess) -> None:
    """Connecting to the world never takes a published port as its source."""
    lab.echo_server("outside", "tcp", 7)
    agent.client.allocate("web", ports=["50000-50003:80-83"])
    used = {lab.open("host", ("10.77.0.2", 7)).getsockname()[1] for _ in range(5)}
    assert used == {50004, 50005, 50006, 50008, 50009}
    with pytest.raises(OSError, match="Cannot assign requested address"):
        lab.open("host", ("10.77.0.2", 7))


def test_automatic_ports_skip_what_is_taken(lab: Lab, agent: AgentProcess) -> None:
    """Automatic ports pass over those reserved and those that a foreign process holds; then none is left."""
    lab.run("host", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=40000 49999"])
    with lab.socket("host") as foreign:
        foreign.bind((HOST, 50001))
        foreign.listen()
        given = agent.client.allocate("web", ports=["80"] * 8).ports
        assert {each.host_port for each in given} == {*range(50000, 50010)} - {50001, 50007}
        with pytest.raises(Refused, match="ports_exhausted"):
            agent.client.publish("web", ["81"])
    assert agent.client.publish("web", ["81"]).ports[-1].host_port == 50001


def test_half_of_the_hosts_ports_stay_the_hosts(lab: Lab, agent: AgentProcess) -> None:
    """Of those that its connections go out from at most half are published, whatever the protocol."""
    client = agent.client
    before = client.allocate("web", ports=["50000-50001:80-81", "50001-50002:80-81/sctp"])
    client.allocate("api", ports=["127.0.0.1:50003:80/udp"])
    state = reserved(lab), client.list(), client.status().mappings, len(client.tree())
    for spec in ("50004:80/sctp", "127.0.0.1:50004:80", "50003-50004:80-81/tcp", "50005-50009:1-5/sctp"):
        with pytest.raises(Refused, match="ip_local_port_range") as refused:
            client.publish("web", [spec, "8080:80"])
        assert refused.value.code == "limit"
        for part in ("web", "50000-50009", "of the 9 ports", "ip_local_reserved_ports"):
            assert part in refused.value.text
    assert (reserved(lab), client.list(), client.status().mappings, len(client.tree())) == state
    assert client.inspect("web") == before

    assert client.publish(
        "api", ["50000:53/udp", "50007:80", "50010:80", "8080:80"]
    )  # taken, reserved, outside
    lab.run("host", ["sysctl", "-qw", f"{RESERVED}={reserved(lab)},50004"])  # what the operator says goes
    assert client.publish("web", ["50004:80/sctp"])
    client.release("api")
    assert client.publish("web", ["50005:80/sctp"])


def test_it_stays_so_however_the_agent_ends(lab: Lab, agent: AgentProcess) -> None:
    """What is published counts after a kill and after the end of the journal; a wider range is seen at once."""
    agent.client.allocate("web", ports=["50000-50003:80-83"])
    agent.kill()
    agent.start()
    with pytest.raises(Refused, match="limit: "):
        agent.client.publish("web", ["50004:80/sctp"])
    with agent.events("actor_restarted") as events:
        agent.client.crash("journal")
        events.named("actor_restarted")
    with pytest.raises(Refused, match="limit: "):
        agent.client.publish("web", ["50004:80/sctp"])
    lab.run("host", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=50000 50019"])
    assert agent.client.publish("web", ["50004:80/sctp"])


@pytest.fixture
def wide(lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent that gives automatic ports beyond those of outgoing connections, too."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", port_range="50000-50019") as made:
        yield made


def test_automatic_ports_leave_half(wide: AgentProcess) -> None:
    """At the half automatic ports come from outside of it; when those are gone the answer says why."""
    given = [wide.client.allocate(f"c{n}", ports=["80"]).ports[0].host_port for n in range(14)]
    assert given == [50000, 50001, 50002, 50003, *range(50010, 50020)]
    with pytest.raises(Refused, match=r"limit: .*ip_local_port_range"):
        wide.client.allocate("new", ports=["80"])
    wide.client.release("c0")
    assert wide.client.allocate("new", ports=["80"]).ports[0].host_port < 50010


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_port_held_by_a_process_is_refused(lab: Lab, agent: AgentProcess, proto: str) -> None:
    """A fixed port of a foreign process is `port_in_use` and names its pid; nothing has changed after."""
    before = agent.client.allocate("web", ports=["8080:80"])
    holder = lab.echo_server("host", proto, 8081)
    state = reserved(lab), agent.client.status(), [each.name for each in agent.client.tree()]

    with pytest.raises(Refused, match=rf"port_in_use: .*8081.*pid {os.getpid()} ") as refused:
        agent.client.publish("web", [f"50002:80/{proto}", f"8081:81/{proto}"])

    assert refused.value.code == "port_in_use"
    assert agent.client.inspect("web") == before
    assert (reserved(lab), agent.client.status(), [each.name for each in agent.client.tree()]) == state
    assert lab.connect("outside", (HOST, 8081), proto).server == "host"
    holder.close()
    assert agent.client.publish("web", [f"8081:81/{proto}"]).ports[-1].host_port == 8081


def test_a_port_held_by_an_interface_is_refused(agent: AgentProcess) -> None:
    """A fixed port of another interface is `port_in_use` and names that interface, also on one address."""
    agent.client.allocate("web", ports=["8080:80"])
    agent.client.allocate("api")
    for spec in ("8080:80", "127.0.0.1:8080:80", "8079-8081:1-3"):
        with pytest.raises(Refused, match=r"port_in_use: .*\bweb\b.*\b8080\b"):
            agent.client.publish("api", [spec])
    assert agent.client.inspect("api").ports == ()
