"""Answers to come: from threads, from the loop, across both."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref

import pykka
import pytest

from moorage.errors import Code, Refused
from moorage.supervision.loop import EventLoop
from moorage.supervision.reply import Reply, Unanswered, together
from supervision.rig import PATIENCE


def in_loop(events: EventLoop, reply: Reply) -> object:
    """Await it in the loop; gives what came."""

    async def waits() -> object:
        return await reply

    return events.submit(waits()).result(PATIENCE)


def test_answered_before(events: EventLoop) -> None:
    """An answer that is there is given at once, to threads and to the loop, as often as asked for."""
    reply = Reply()
    reply.set("answer")
    assert [reply.wait(), reply.get(timeout=0), in_loop(events, reply), in_loop(events, reply)] == [
        "answer"
    ] * 4


@pytest.mark.parametrize("by", ["thread", "loop"])
@pytest.mark.parametrize("to", ["thread", "loop"])
def test_answered_later(events: EventLoop, by: str, to: str) -> None:
    """Whoever answers and whoever waits, the one wakes the other."""
    reply = Reply()
    waiting = threading.Event()
    reply_waiting = reply.when_answered

    def note(call: object) -> None:
        reply_waiting(call)  # type: ignore[arg-type]  # a spy
        waiting.set()

    reply.when_answered = note  # type: ignore[method-assign]  # a spy

    def answer() -> None:
        assert waiting.wait(PATIENCE)
        if by == "thread":
            reply.set("answer")
        else:
            events.loop.call_soon_threadsafe(reply.set, "answer")

    answerer = threading.Thread(target=answer)
    answerer.start()
    assert (reply.wait() if to == "thread" else in_loop(events, reply)) == "answer"
    answerer.join()


def test_answered_by_a_task_of_the_same_loop(events: EventLoop) -> None:
    """Two coroutines of one loop can wait for each other."""

    async def both() -> object:
        reply = Reply()
        asyncio.get_running_loop().call_soon(reply.set, "answer")
        return await reply

    assert events.submit(both()).result(PATIENCE) == "answer"


def test_the_first_answer_stays() -> None:
    """Later answers are void, and nobody is called twice."""
    reply = Reply()
    heard: list[object] = []
    reply.when_answered(lambda r: heard.append(r.get()))
    reply.set(1)
    reply.set(2)
    reply.fail(ValueError())
    reply.when_answered(lambda r: heard.append("late"))
    assert (reply.wait(), heard) == (1, [1, "late"])


def test_error_is_raised_where_it_is_awaited(events: EventLoop) -> None:
    """A refusal is raised to threads and in the loop."""
    reply = Reply.failed(Refused(Code.DENIED, "no"))
    with pytest.raises(Refused, match="denied: no"):
        reply.wait()
    with pytest.raises(Refused, match="denied: no"):
        in_loop(events, reply)


def test_error_under_way() -> None:
    """Without an argument set_exception takes the error that is being handled, as pykka's does."""
    reply = Reply()
    try:
        raise ValueError("boom")
    except ValueError:
        reply.set_exception()
    with pytest.raises(ValueError, match="boom"):
        reply.get()


def test_deadline_counts_from_the_ask(events: EventLoop) -> None:
    """However many are awaited one after the other, their deadlines pass side by side."""
    replies = [Reply("x", 0.02) for _ in range(3)]
    for reply in replies:
        with pytest.raises(Unanswered, match=r"x did not answer within 0\.02 s"):
            reply.wait()
    for reply in [*replies, Reply("x", 0.02)]:
        with pytest.raises(Unanswered, match="x did not answer"):
            in_loop(events, reply)
    with pytest.raises(pykka.Timeout):
        replies[0].get(timeout=0.01)


def test_late_answer_after_the_deadline() -> None:
    """An answer past the deadline wakes nobody and is kept."""
    reply = Reply("x", 0.01)
    with pytest.raises(Unanswered):
        reply.wait()
    reply.set("late")
    assert reply.wait() == "late"


def test_cancelled_waiter(events: EventLoop) -> None:
    """A task cancelled while it awaits leaves nothing behind, and the answer comes to others."""
    reply = Reply()

    async def cancelled() -> None:
        task = asyncio.ensure_future(awaits(reply))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    events.submit(cancelled()).result(PATIENCE)
    assert reply._waiting == []
    reply.set("answer")
    assert in_loop(events, reply) == "answer"


async def awaits(reply: Reply) -> object:
    return await reply


def test_answer_after_the_loop_closed() -> None:
    """An answer to a loop that is closed is no error of the one who answers."""
    reply = Reply()
    events = EventLoop().start()
    waiting = threading.Event()

    async def stubborn() -> None:
        waiter = asyncio.ensure_future(awaits(reply))
        while True:
            try:
                waiting.set()
                await asyncio.shield(waiter)
            except asyncio.CancelledError:
                reply.when_answered(lambda _: None)
                raise

    task = events.submit(stubborn())
    assert waiting.wait(PATIENCE)
    events.close()
    reply.set("too late")
    assert reply.wait() == "too late"
    assert task.cancelled()


def test_pykkas_get_all() -> None:
    """Our replies are pykka's futures."""
    replies = [Reply() for _ in range(3)]
    for number, reply in enumerate(replies):
        reply.set(number)
    assert pykka.get_all(replies) == [0, 1, 2]
    assert replies[1].map(lambda value: value * 10).get() == 10


@pytest.mark.parametrize("to", ["thread", "loop"])
def test_replies_are_freed_without_the_collector(events: EventLoop, to: str) -> None:
    """A reply that was awaited is in no reference cycle."""
    gc.collect()
    gc.disable()
    try:
        reply = Reply("x", 5.0)
        freed = threading.Event()
        weakref.finalize(reply, freed.set)
        timer = threading.Timer(0.01, reply.set)
        timer.start()
        assert (reply.wait() if to == "thread" else in_loop(events, reply)) is None
        timer.join()
        del reply, timer
        assert freed.wait(PATIENCE)
    finally:
        gc.enable()


def test_loop_closes_twice_and_unstarted() -> None:
    """Closing a loop again, or one that never ran, changes nothing."""
    events = EventLoop().start()
    events.close()
    events.close()
    EventLoop().close()


def test_many_answers_wake_a_loop_once(events: EventLoop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers given together all arrive, and the loop that waits for them is woken by the last."""
    replies = [Reply() for _ in range(3)]
    waiting = threading.Barrier(2)

    async def waits() -> list[object]:
        asyncio.get_running_loop().call_soon(asyncio.get_running_loop().call_soon, waiting.wait, PATIENCE)
        return await asyncio.gather(*replies)

    outcome = events.submit(waits())
    waiting.wait(PATIENCE)
    woken: list[object] = []
    wake_up = events.loop.call_soon_threadsafe
    with monkeypatch.context() as patch:
        patch.setattr(
            events.loop, "call_soon_threadsafe", lambda *call: (woken.append(call), wake_up(*call))[1]
        )
        with together():
            for number, reply in enumerate(replies):
                reply.set(number)
            assert woken == []
    assert outcome.result(PATIENCE) == [0, 1, 2]
    assert len(woken) == 1
