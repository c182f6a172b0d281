"""Hosts whose administrator wrote rules into FORWARD: they keep their say, and ours come after them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents import AgentProcess, until
from host_iptables import Iptables, needed
from installation import WEB, WEB6, Installation
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab

pytestmark = pytest.mark.system

SOON = 2.0
"""Seconds in which what others changed is put right."""
JUMP = "-A FORWARD -j MOORAGE"
REJECT = "-A FORWARD -j REJECT"


@pytest.fixture(params=["nft", "legacy"])
def kind(request: pytest.FixtureRequest) -> str:
    """The kind of iptables."""
    return str(request.param)


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab without an agent."""
    with Lab() as made:
        yield made


@pytest.fixture
def tables(lab: Lab, kind: str) -> Iptables:
    """The host's iptables, with a dropping policy."""
    made = Iptables(lab, kind, needed())
    made.run("-P FORWARD DROP")
    return made


@pytest.fixture
def at(lab: Lab, tables: Iptables, tmp_path: Path) -> Iterator[Installation]:
    """An installation whose agent finds them, and has made of that policy what it does."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", environment=needed()) as agent:
        made = Installation(lab, agent)
        until(lambda: tables.forward() == [[JUMP], [JUMP]])
        yield made


def ours_is_last(tables: Iptables) -> bool:
    return all(rules[-1:] == [JUMP] and rules.count(JUMP) == 1 for rules in tables.forward())


def by_family(at: Installation) -> list[str]:
    """The warnings, IPv4's first."""
    return sorted(at.client.status().warnings, key=lambda text: "ip6" in text)


def reached(at: Installation, *ports: int) -> list[bool]:
    """Whether both families are answered at each of these ports, asked at once: who is dropped is waited for."""
    asked = [(host, port) for port in ports for host in (HOST, HOST6)]
    with ThreadPoolExecutor(len(asked)) as threads:
        return list(threads.map(lambda to: at.lab.can_reach("outside", to, timeout=0.3), asked))


def test_what_the_administrator_drops_stays_dropped(at: Installation, tables: Iptables) -> None:
    """A port and an address that somebody's rules drop are dropped, however and whenever they were written."""
    assert reached(at, 8080, 8101) == [True] * 4
    tables.run("-A FORWARD -p tcp -m tcp --dport 81 -j DROP")
    until(lambda: ours_is_last(tables))
    assert reached(at, 8080, 8101) == [True, True, False, False]
    at.agent.replace()
    assert reached(at, 8080, 8101) == [True, True, False, False]


def test_ours_stays_last(at: Installation, tables: Iptables) -> None:
    """Whoever appends a rule, or moves ours, finds it last again within two seconds, and is told so."""
    with at.agent.events("repaired") as events:
        for change in (
            "-A FORWARD -p tcp -m tcp --dport 9 -j DROP",
            "-A FORWARD -j MOORAGE",
            "-I FORWARD -j MOORAGE",
        ):
            tables.run(change)
            assert until(lambda: ours_is_last(tables)) < SOON
        until(lambda: sum("moved to the end" in each["what"] for each in events.seen) >= 2)
    assert [rules[0] for rules in tables.forward()] == ["-A FORWARD -p tcp -m tcp --dport 9 -j DROP"] * 2


def test_an_upgrade_moves_what_an_older_version_put_first(at: Installation, tables: Iptables) -> None:
    """A jump at the head of the chain, as versions before made it, is last once the agent has started."""
    at.agent.kill()
    tables.run("-D FORWARD -j MOORAGE")
    tables.run("-A FORWARD -p tcp -m tcp --dport 81 -j DROP")
    tables.run("-I FORWARD -j MOORAGE")
    assert reached(at, 8101) == [True, True]
    at.agent.start()
    assert ours_is_last(tables)
    assert reached(at, 8080, 8101) == [True, True, False, False]


@pytest.mark.parametrize("policy", ["DROP", "ACCEPT"])
def test_a_rule_that_rejects_all_is_named_while_it_lasts(
    at: Installation, tables: Iptables, kind: str, policy: str
) -> None:
    """A last rule of theirs that rejects everything is a warning, until it or what it rejects is no more."""
    tables.run(f"-P FORWARD {policy}")
    tables.run(REJECT)
    until(lambda: len(at.client.status().warnings) == 2)
    where = {"nft": "nftables table {} filter", "legacy": "legacy {}tables"}[kind]
    for family, warning in zip(("ip", "ip6"), by_family(at), strict=True):
        assert f"chain FORWARD of {where.format(family)}" in warning
        assert "reject" in warning
        assert "published ports and what containers send out of" in warning
        assert "-I FORWARD -i mg-dual -j ACCEPT" in warning
    assert reached(at, 8080) == [False, False]
    assert not at.lab.can_reach("web", (OUTSIDE, 80), timeout=0.3)
    assert not at.lab.can_reach("web", (OUTSIDE6, 80), timeout=0.3)

    for bridge in ("moorage0", "mg-dual", "mg-sealed"):
        for way in ("-i", "-o"):
            tables.run(f"-I FORWARD {way} {bridge} -j ACCEPT")
    until(lambda: not at.client.status().warnings)
    assert reached(at, 8080) == [True, True]

    tables.run("-F FORWARD")
    tables.run(REJECT)
    until(lambda: at.client.status().warnings)
    tables.run(REJECT.replace("-A", "-D"))
    until(lambda: not at.client.status().warnings)


def test_a_rule_that_rejects_all_in_a_chain_of_theirs_is_named(at: Installation, tables: Iptables) -> None:
    """A chain that FORWARD jumps to may be the one that rejects; one under a condition says nothing of ours."""
    tables.run("-N reject-all")
    tables.run("-A reject-all -p tcp -m tcp --dport 9 -j ACCEPT")
    tables.run("-A reject-all -j REJECT")
    tables.run("-A FORWARD -i eth7 -j reject-all")
    until(lambda: ours_is_last(tables))
    assert at.client.status().warnings == ()
    tables.run("-A FORWARD -j reject-all")
    until(lambda: len(at.client.status().warnings) == 2)
    assert all("of chain reject-all" in warning for warning in at.client.status().warnings)
    assert not at.lab.can_reach("outside", (WEB, 80), timeout=0.2)
    assert not at.lab.can_reach("outside", (WEB6, 80), timeout=0.2)
