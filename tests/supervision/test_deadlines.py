"""One timer of a loop for all who wait in it."""

from __future__ import annotations

import asyncio

import pytest

from moorage.supervision import deadlines
from moorage.supervision.deadlines import deadlines_of
from moorage.supervision.loop import EventLoop
from moorage.supervision.reply import Reply, Unanswered
from supervision.rig import PATIENCE


@pytest.fixture(autouse=True)
def _coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """All deadlines share a timer, and it rings often."""
    monkeypatch.setattr(deadlines, "FINE", 0.0)
    monkeypatch.setattr(deadlines, "COARSE", 0.01)


async def outcome(reply: Reply) -> object:
    """What came, or that nothing did."""
    try:
        return await reply
    except Unanswered:
        return Unanswered


def test_each_gives_up_at_its_own_time(events: EventLoop) -> None:
    """Who waits for long goes on waiting when another's time is over, and those that came later are looked for too."""

    async def both() -> list[object]:
        patient = Reply("x", PATIENCE)
        waits = asyncio.ensure_future(outcome(patient))
        hasty = [await outcome(Reply("x", 0.02)) for _ in range(2)]
        patient.set("answer")
        return [*hasty, await waits]

    assert events.submit(both()).result(PATIENCE) == [Unanswered, Unanswered, "answer"]


@pytest.mark.parametrize("deadline", [0.02, PATIENCE])
def test_nobody_is_kept(events: EventLoop, deadline: float) -> None:
    """Who was answered, or waits no more, is not remembered."""

    async def left() -> int:
        reply = Reply("x", deadline)
        if deadline == PATIENCE:
            asyncio.get_running_loop().call_soon(reply.set, "answer")
        await outcome(reply)
        return len(deadlines_of(asyncio.get_running_loop()))

    assert events.submit(left()).result(PATIENCE) == 0
