"""Answers that are put off, and answers given many at a time."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.errors import Code, Fault, Refused
from moorage.supervision.actor import BATCH, DEFERRED
from moorage.supervision.messages import Stop
from supervision.rig import PATIENCE, Do, Many, Stage, enter, hold, raise_


def test_defer(stage: Stage) -> None:
    """A deferred answer is given later, while others are answered before."""
    enter(stage, "a")
    kept: list[Any] = []

    def keep(actor: Any) -> Any:
        kept.append(actor.defer())
        return DEFERRED

    later = stage.ask("a", Do(keep))
    assert stage.ask("a", "first").wait() == "first"
    assert not later.answered
    assert stage.do("a", lambda _: kept[0].set("later")) is None
    assert later.wait() == "later"


def test_deferred_to_the_grave(stage: Stage) -> None:
    """What an actor put off and never answered is answered when it ends."""
    enter(stage, "a")

    def keep(actor: Any) -> Any:
        actor.defer()
        return DEFERRED

    later = stage.ask("a", Do(keep))
    stage.ask("a", Stop()).wait()
    with pytest.raises(Fault, match="a ended before it answered: the outcome is unknown"):
        later.wait()


def test_defer_under_a_tell(stage: Stage) -> None:
    """Who was only told may put the answer off all the same; nobody gets it."""
    enter(stage, "a")
    stage.tell("a", Do(lambda actor: actor.defer().set("nobody")))
    assert stage.ask("a", "alive?").wait() == "alive?"


def test_batch_in_order(stage: Stage) -> None:
    """Neighbours of a batched kind are handled at once, in order; others part them; no batch is too large."""
    enter(stage, "a")
    gate = hold(stage, "a")
    replies = [stage.ask("a", Many(number)) for number in range(3)]
    between = stage.ask("a", "between")
    replies += [stage.ask("a", Many(number)) for number in range(3, 4 + BATCH)]
    gate.open()
    assert [reply.wait() for reply in replies] == list(range(4 + BATCH))
    assert between.wait() == "between"
    assert stage.story[1:] == [("batch", 3), ("batch", BATCH), ("batch", 1)]


def test_refusal_among_a_batch(stage: Stage) -> None:
    """One message of a batch is refused and its neighbours are answered."""
    enter(stage, "a")
    gate = hold(stage, "a")
    replies = [
        stage.ask("a", Many(1)),
        stage.ask("a", Many(Refused(Code.DENIED, "no"))),
        stage.ask("a", Many(3)),
    ]
    gate.open()
    assert (replies[0].wait(), replies[2].wait()) == (1, 3)
    with pytest.raises(Refused, match="denied: no"):
        replies[1].wait()
    assert stage.ask("a", "alive?").wait() == "alive?"


@pytest.mark.parametrize(
    ("deed", "answer", "dies"),
    [
        (raise_(Refused(Code.DENIED, "all of you")), (Refused, "denied: all of you"), False),
        (raise_(ValueError("boom")), (Fault, "a died of ValueError: boom"), True),
        (lambda messages: messages[:1], (Fault, "a gave 1 answers to 3 messages"), True),
    ],
)
def test_batch_that_fails(stage: Stage, deed: Any, answer: tuple[type[Exception], str], dies: bool) -> None:
    """A refusal, a bug and a wrong number of answers go to every asker of the batch; bugs kill."""
    exits = stage.ready(enter(stage, "a"))
    gate = hold(stage, "a")
    replies = [stage.ask("a", Many(value)) for value in (1, 2, deed)]
    gate.open()
    for reply in replies:
        with pytest.raises(answer[0], match=answer[1]):
            reply.wait()
    if dies:
        assert exits.get(timeout=PATIENCE).reason is not None
    else:
        assert stage.ask("a", "alive?").wait() == "alive?"
