"""Ranges that keep their numbers, through a whole agent: one record, one proxy, one element for each family."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agents import START, until
from agreement import assert_agreement_on_host, read_elements
from echo_server import ask
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage import Refused
from moorage.kernel.linux.nftables import Nftables
from moorage.model.elements import is_published
from system.test_handover import Replaceable

pytestmark = pytest.mark.system

FIRST, MIDDLE, LAST = 50000, 50100, 50299
RESERVED = "net.ipv4.ip_local_reserved_ports"
ENDS = (FIRST, MIDDLE, LAST)
SPECS = [f"{FIRST}-{LAST}:{FIRST}-{LAST}", f"{FIRST}-{LAST}:{FIRST}-{LAST}/udp"]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Replaceable]:
    """An agent with one container of both families, a range of whose ports is published."""
    with Lab() as lab, Replaceable(lab, tmp_path, default_network=False) as made:
        made.client.create_network("dual", subnet="10.0.43.0/24", subnet6="fd43::/64")
        made.client.allocate("web", network="dual", netns=lab.container("web"), ports=SPECS)
        for proto in ("tcp", "udp"):
            for port in ENDS:
                lab.echo_server("web", proto, port)
        yield made


def working(agent: Replaceable) -> bool:
    """Whether first, middle and last answer outside, which is seen as itself."""
    return all(
        agent.lab.connect("outside", (to, port), proto).peer == seen
        for to, seen in ((HOST, OUTSIDE), (HOST6, OUTSIDE6))
        for port in ENDS
        for proto in ("tcp", "udp")
    )


def elements(agent: Replaceable) -> list[str]:
    """The maps that the elements of published ports are in."""
    return sorted(each.container for each in agent.lab.call("host", read_elements) if is_published(each))


def killed(agent: Replaceable) -> None:
    agent.replace(signal.SIGKILL)


def succeeded(agent: Replaceable) -> None:
    assert agent.succeed().wait(START) == 0


def crashed(agent: Replaceable) -> None:
    with agent.events("actor_restarted") as events:
        agent.client.crash("port-mapper")
        agent.client.crash(f"proxy:tcp/0.0.0.0:{FIRST}-{LAST}")
        for name in ("port-mapper", f"proxy:tcp/0.0.0.0:{FIRST}-{LAST}"):
            events.wait(lambda event, name=name: event["actor"] == name)


def lost(agent: Replaceable) -> None:
    with agent.events("repaired") as events:
        other = agent.lab.call("host", Nftables)
        other.run("flush map inet moorage run4_any")
        other.close()
        events.named("repaired")


@pytest.mark.parametrize("what", [killed, succeeded, crashed, lost])
def test_a_range_outlives(agent: Replaceable, what: Callable[[Replaceable], None]) -> None:
    """After a kill, a replacement, crashes or damage ports answer, connections went on, all agree on one element."""
    assert elements(agent) == ["run4_any"] * 2 + ["run6_any"] * 2
    assert working(agent)
    kept = agent.lab.open("outside", (HOST, LAST))
    ask(kept)
    what(agent)
    until(lambda: len(elements(agent)) == 4)
    assert working(agent)
    assert ask(kept).server == "web"
    assert_agreement_on_host(agent, agent.lab)
    assert [(each.host_port, each.count) for each in agent.client.inspect("web").ports] == [(FIRST, 300)] * 2


def test_a_range_goes_whole(agent: Replaceable) -> None:
    """Unpublished, its connections end, its ports are free for others and for outgoing connections."""
    kept = agent.lab.open("outside", (HOST, MIDDLE))
    ask(kept)
    assert agent.lab.run("host", ["sysctl", "-n", RESERVED]).strip() == f"{FIRST}-{LAST}"
    with pytest.raises(Refused, match="web holds"):
        agent.client.publish("web", [f"{LAST}:80"])
    agent.client.unpublish("web")
    with pytest.raises(ConnectionResetError):
        ask(kept)
    assert not agent.lab.can_reach("outside", (HOST, MIDDLE), timeout=0.3)
    assert agent.lab.run("host", ["sysctl", "-n", RESERVED]).strip() == ""
    agent.client.publish("web", [f"{MIDDLE}:{FIRST}"])
    assert agent.lab.connect("outside", (HOST, MIDDLE)).server == "web"
