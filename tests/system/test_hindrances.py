"""What of the host's own stops traffic: left as it is, and named while it lasts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess, until
from lab import HOST, OUTSIDE, Lab

pytestmark = pytest.mark.system

SOON = 2.0
"""Seconds in which a change is seen."""
SWITCH = "net.ipv4.conf.eth0.forwarding"


@pytest.fixture
def agent(lab: Lab, tmp_path: Path) -> Iterator[AgentProcess]:
    """An agent with a container behind port 8080."""
    lab.echo_server("outside", "tcp", 80)
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as made:
        made.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
        lab.echo_server("web", "tcp", 80)
        yield made


def sysctl(lab: Lab, assignment: str) -> None:
    lab.run("host", ["sysctl", "-qw", assignment])


def test_forwarding_switched_off_for_one_link_is_named(lab: Lab, agent: AgentProcess) -> None:
    """A link whose forwarding is off is not switched on by us, and named by `status` and the log until it is on."""
    assert agent.client.status().warnings == ()
    sysctl(lab, f"{SWITCH}=0")
    until(lambda: agent.client.status().warnings, SOON)
    (warning,) = agent.client.status().warnings
    assert warning.startswith(f"{SWITCH} is 0: ")
    assert not lab.can_reach("outside", (HOST, 8080), timeout=0.3)
    assert not lab.can_reach("web", (OUTSIDE, 80), timeout=0.3)
    agent.replace()
    assert agent.client.status().warnings == (warning,)
    assert lab.run("host", ["sysctl", "-n", SWITCH]).strip() == "0"
    sysctl(lab, f"{SWITCH}=1")
    until(lambda: not agent.client.status().warnings, SOON)
    assert lab.can_reach("outside", (HOST, 8080))
    assert [line["what"] for line in agent.log("traffic_hindered")] == [warning, warning]  # by either process


def test_links_that_carry_nothing_are_not_named(lab: Lab, agent: AgentProcess) -> None:
    """A link without an address, one that is down, and bridges of ours, which are put right, are no matter."""
    lab.run("host", ["ip", "link", "add", "bare0", "type", "bridge"])
    lab.run("host", ["ip", "link", "set", "bare0", "up"])
    lab.run("host", ["ip", "link", "add", "down0", "type", "bridge"])
    lab.run("host", ["ip", "address", "add", "10.9.0.1/24", "dev", "down0"])
    with agent.events("repaired") as events:
        for link in ("bare0", "down0", "lo", "moorage0"):
            sysctl(lab, f"net.ipv4.conf.{link}.forwarding=0")
        events.wait(lambda event: "moorage0.forwarding" in event["what"])
    assert agent.client.status().warnings == ()
    lab.run("host", ["ip", "link", "set", "down0", "up"])
    until(lambda: agent.client.status().warnings, SOON)
    assert "down0" in agent.client.status().warnings[0]


def test_a_fight_is_named_while_it_goes_on(lab: Lab, agent: AgentProcess) -> None:
    """Somebody who switches forwarding off each time is named by `status` for as long as that goes on."""

    def fought() -> bool:
        sysctl(lab, "net.ipv4.ip_forward=0")
        return bool(agent.client.status().warnings)

    until(fought, 30)
    (warning,) = agent.client.status().warnings
    assert "net/ipv4/ip_forward" in warning
    assert agent.log("repairs_contested")
