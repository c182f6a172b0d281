"""Actors that die while clients ask, and supervisors that give up."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import until
from agreement import StartAgent, actor, assert_agreement
from chaos.dying import CRASHES, HANGS, LISTENING, Dying
from chaos.escalating import crash
from chaos.hanging import Hang
from chaos.mutants import held_answers
from moorage import Agent
from moorage.control.tree import ROOT
from moorage.supervision.supervisor import GaveUp

pytestmark = pytest.mark.system

SEED = 2013


def test_nobody_notices_when_actors_die(tmp_path: Path) -> None:
    """Every actor crashes and hangs under load: no request is lost, no other restarted, and who wakes up is void."""
    account = Dying(tmp_path, SEED).run(lambda done: done.deaths >= len([*CRASHES, *HANGS]))
    assert {role for role, _ in CRASHES} == account.crashes.keys()
    assert {role for role, _ in HANGS} == account.hangs.keys()
    assert account.woken >= len(HANGS) - len(LISTENING)
    assert account.answered > 20 * account.deaths


def test_the_load_finds_an_answer_that_is_served_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clients that mix requests with a string, such ones repeated, and plain ones see a held answer served again."""
    held_answers(monkeypatch)
    with pytest.raises(AssertionError):
        Dying(tmp_path, SEED).run(lambda done: done.deaths >= 60)


def test_a_supervisor_gives_up_and_is_restarted(agent: Agent) -> None:
    """When proxies crash more often than is allowed, their supervisor is restarted, all of them with it."""
    agent.allocate("web", ports=["8080:80", "8081:81"])
    tree = {each.name: each.restarts for each in agent.tree()}
    assert tree["proxies"] == 0
    for _ in range(51):
        crash(agent, "proxy:tcp/0.0.0.0:8080")
    until(lambda: {each.name: each.restarts for each in agent.tree()}["proxies"] == 1)
    until(lambda: all(each.state == "running" for each in agent.tree()))
    assert_agreement(agent)


def test_the_root_gives_up_in_the_end(start_agent: StartAgent) -> None:
    """What the root allows is mended; one crash more ends the agent, and the next has all there was."""
    agent = start_agent()
    web = agent.allocate("web", ports=["8080:80"])
    for _ in range(ROOT.limit):
        crash(agent, "journal")
    assert agent.inspect("web") == web
    crash(agent, "journal")
    assert agent.ended.wait(10)
    assert isinstance(agent.reason, GaveUp)
    agent.stop()
    again = start_agent()
    assert again.inspect("web") == web
    assert_agreement(again)


def test_a_hung_journal_ends_the_agent(start_agent: StartAgent) -> None:
    """A journal that hangs keeps its lock, so that only a new process can go on: the agent ends and says so."""
    agent = start_agent()
    hang = Hang(agent, "journal")
    actor(agent, "root").directory.find("journal").tell("anything")
    until(lambda: hang.hurry() or agent.ended.is_set())  # type: ignore[func-returns-value]  # None goes on
    assert isinstance(agent.reason, GaveUp)
    hang.let_go()
    assert hang.ended.wait(10)
