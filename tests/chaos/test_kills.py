"""The agent, killed while clients ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.account import MOMENT, Account
from chaos.agreeing import agree, eventually
from chaos.flows import led, mapped
from chaos.killing import Killing
from chaos.victim import Victim, recorded
from echo_server import ask
from lab import HOST, Lab
from moorage import Client
from moorage.errors import Unreachable

pytestmark = pytest.mark.system

SEED = 2013


def test_nothing_is_lost_when_the_agent_is_killed(tmp_path: Path) -> None:
    """Killed 30 times, clients, journal, kernel and listeners agree each time, and nothing is left open."""
    account = Killing(tmp_path, SEED).run(lambda done: done.kills.total() >= 30)
    check(account)


def test_nothing_is_lost_on_the_real_kernel(tmp_path: Path) -> None:
    """Killed 20 times, with containers attached, clients, journal, rules, links and listeners agree each time."""
    with Lab() as lab:
        account = Killing(tmp_path, SEED, lab).run(lambda done: done.kills.total() >= 20)
    check(account)


def test_a_flow_ends_although_the_agent_is_killed_before_it_ends_it(tmp_path: Path) -> None:
    """Killed between a mapping's rules and its connections, the next start ends the connections."""
    with Lab() as lab, Victim(tmp_path, lab) as victim:
        victim.client.allocate("web", netns=lab.container("web"), ports=["8080:80/udp"])
        lab.echo_server("web", "udp", 80)
        flow = lab.open("outside", (HOST, 8080), "udp")
        assert ask(flow).server == "web"
        victim.order("control.port_mapper:PortMapper._apply/after", 1)
        with pytest.raises(Unreachable), Client(victim.socket, pauses=()) as client:
            client.unpublish("web")
        victim.kill()
        journal = recorded(victim.state)
        assert led(victim, journal) - mapped(journal)
        victim.start()
        web = victim.client.inspect("web")
        eventually(lambda: agree(victim, {"web": web}))
        with pytest.raises(ConnectionRefusedError):
            ask(flow)


def check(account: Account) -> None:
    """That the run was no idle one."""
    assert account.checks > 0
    assert account.kills[MOMENT]
    assert len(account.kills) > 5
    assert account.hangs["journal"]
    assert account.answered > account.kills.total()
