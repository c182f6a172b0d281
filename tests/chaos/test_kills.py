"""The agent, killed while clients ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.account import MOMENT, Account
from chaos.killing import Killing
from lab import Lab

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


def check(account: Account) -> None:
    """That the run was no idle one."""
    assert account.checks > 0
    assert account.kills[MOMENT]
    assert len(account.kills) > 5
    assert account.hangs["journal"]
    assert account.answered > account.kills.total()
