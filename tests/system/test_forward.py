"""Hosts whose FORWARD chain drops, by iptables of either kind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess, until
from host_iptables import Iptables, needed
from installation import WEB, WEB6, Installation
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

SOON = 2.0
"""Seconds in which what others changed is put right."""
FORWARDED = (
    *(
        ("outside", (HOST, 8080)),
        ("outside", (HOST6, 8080)),
        ("lone", (HOST, 8080)),
        ("vault", (HOST6, 8080)),
    ),
    *(("web", (OUTSIDE, 80)), ("web", (OUTSIDE6, 80))),
)
WAYS = (*FORWARDED, ("web", (HOST, 8080)), ("host", ("127.0.0.1", 8080)))
THEIRS = "FORWARD -p tcp -m tcp --dport 9 -j DROP"


@pytest.fixture(params=["nft", "legacy"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of iptables."""
    return str(request.param)


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Installation]:
    """An installation whose agent finds iptables."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", environment=needed()) as agent:
        yield Installation(lab, agent)


@pytest.fixture
def tables(at: Installation, kind: str) -> Iptables:
    """Its iptables, with a rule of somebody's in it."""
    made = Iptables(at.lab, kind, needed())
    made.run(f"-A {THEIRS}")
    return made


def working(at: Installation) -> bool:
    return all(at.lab.can_reach(name, to, timeout=0.3) for name, to in WAYS)


def test_a_policy_set_before_the_agent_does_not_stop_us(at: Installation, tables: Iptables) -> None:
    """An agent that starts under a dropping policy lets its own traffic pass, and nothing else."""
    at.agent.kill()
    tables.run("-P FORWARD DROP")
    assert not any(at.lab.can_reach(name, to, timeout=0.2) for name, to in FORWARDED)
    at.agent.start()
    assert working(at)
    assert tables.run("-S FORWARD").count("-P FORWARD DROP\n") == 2
    assert tables.run("-S FORWARD").count(f"-A {THEIRS}\n") == 2
    for address in (WEB, WEB6):
        assert not at.lab.can_reach("outside", (address, 80), timeout=0.3)


def test_a_policy_set_while_we_run_does_not_stop_us(at: Installation, tables: Iptables) -> None:
    """A policy that changes, or chains that are flushed, under a running agent stop traffic for a moment at most."""
    before = tables.run("-S")
    for change in ("-P FORWARD DROP", "-F FORWARD", "-P FORWARD ACCEPT", "-P FORWARD DROP"):
        tables.run(change)
        assert until(lambda: working(at)) < SOON
    until(lambda: "MOORAGE" in tables.run("-S"))

    tables.run("-P FORWARD ACCEPT")
    tables.run(f"-A {THEIRS}")
    until(lambda: tables.run("-S") == before)


def test_nothing_of_ours_stays(at: Installation, tables: Iptables) -> None:
    """After `agent --down` their chains are as they were, policy and all."""
    before = tables.run("-S").replace("FORWARD ACCEPT", "FORWARD DROP")
    tables.run("-P FORWARD DROP")
    until(lambda: "MOORAGE" in tables.run("-S"))
    at.agent.terminate()
    done = at.agent.down()
    assert (done.returncode, tables.run("-S")) == (0, before)


def test_a_chain_that_cannot_be_overridden_is_named_while_it_is_there(at: Installation) -> None:
    """An nftables chain of somebody's whose policy drops is a warning of `status` until it goes, and logged once."""
    run = at.lab.call("host", Nftables).run
    run("table inet theirs { chain every { type filter hook forward priority 5; policy drop; }; }")
    until(lambda: at.client.status().warnings, SOON)
    (warning,) = at.client.status().warnings
    assert "chain every of nftables table inet theirs" in warning
    run("delete table inet theirs")
    until(lambda: not at.client.status().warnings, SOON)
    assert [line["what"] for line in at.agent.log("forwarding_dropped")] == [warning]
