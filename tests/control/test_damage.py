"""A damaged record, found while the agent runs."""

from __future__ import annotations

import pytest

from agreement import StartAgent
from moorage import Agent, Fault
from moorage.store import reader
from moorage.store.records import Damaged

PATIENCE = 10.0


def damage(patched: pytest.MonkeyPatch, damaged: str) -> None:
    """Let the row of that interface be another than was written."""
    check = reader.check

    def failing(what: str, crc: int, *columns: object) -> None:
        if damaged in columns:
            raise Damaged(f"the record of {what} is damaged")
        check(what, crc, *columns)

    patched.setattr(reader, "check", failing)


@pytest.mark.parametrize("way", ["inspect", "list", "status"])
def test_a_damaged_record_is_never_served(
    start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Whoever needs a damaged record gets a fault, the agent ends at once, and the next one has all others."""
    agent = start_agent()
    agent.allocate("web", labels={"a": "b"})
    other = agent.allocate("api", ports=["80"], labels={"c": "d"})
    with monkeypatch.context() as patched:
        damage(patched, "web")
        with pytest.raises(Fault, match="damaged"):
            ask(agent, way)
        assert agent.ended.wait(PATIENCE)
        assert "cannot go on" in str(agent.reason)
        agent.stop()
    again = start_agent()
    assert again.inspect("api") == other


def ask(agent: Agent, way: str) -> None:
    match way:
        case "inspect":
            agent.inspect("web")
        case "list":
            agent.list()
        case "status":
            agent.status()
