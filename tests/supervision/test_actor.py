"""One actor, on either runtime: its four rules, from the outside."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import Any

import pykka
import pytest
from pykka._envelope import Envelope

from moorage.errors import Code, Fault, Refused
from moorage.supervision.actor import ThreadActor
from moorage.supervision.directory import Directory, ask
from moorage.supervision.inbox import FAIR
from moorage.supervision.messages import Crash, Ping, Pong, Stop, Watch
from moorage.supervision.reply import Unanswered
from supervision.rig import PATIENCE, Do, Gate, LoopWorker, Script, Stage, enter, hold, raise_


def test_refusal_does_not_kill(stage: Stage) -> None:
    """A refusal is answered and the actor lives on, also when it was only told."""
    enter(stage, "a")
    refuse = raise_(Refused(Code.DENIED, "no"))
    stage.tell("a", Do(refuse))
    with pytest.raises(Refused, match="denied: no"):
        stage.do("a", refuse)
    assert stage.ask("a", "alive?").wait() == "alive?"


def test_bug_is_answered_and_kills(stage: Stage) -> None:
    """A bug is answered as a fault with its cause, and one Exit follows when `end` is over."""
    exits = stage.ready(enter(stage, "a"))
    with pytest.raises(Fault, match="a died of ValueError: boom") as caught:
        stage.do("a", raise_(ValueError("boom")))
    assert isinstance(caught.value.__cause__, ValueError)
    assert isinstance(exits.get(timeout=PATIENCE).reason, ValueError)
    assert stage.story[-1] == ("end", "a")
    assert exits.empty()


def test_error_that_cannot_be_shown(stage: Stage) -> None:
    """An error whose own text fails is a death like any other."""

    class Dumb(Exception):
        def __str__(self) -> str:
            raise ValueError("nor can I say it")

    exits = stage.ready(enter(stage, "a"))
    with pytest.raises(Fault, match="a died of Dumb"):
        stage.do("a", raise_(Dumb()))
    assert isinstance(exits.get(timeout=PATIENCE).reason, Dumb)


def test_the_death_of_a_helper(stage: Stage) -> None:
    """An actor whose helper died dies with it, before it does what waits, and its watcher hears of what."""
    ref = enter(stage, "a")
    exits = stage.ready(ref)
    actor = ref.actor_inbox.abandon.__self__
    gate = Gate(stage)
    stage.tell("a", Do(gate))
    gate.wait()
    waiting = stage.ask("a", "later")
    actor.lose(ValueError("gone"))
    gate.open()
    with pytest.raises(Refused, match="unavailable"):
        waiting.wait()
    reason = exits.get(timeout=PATIENCE).reason
    assert "a thread of a died of ValueError: gone" in str(reason)
    assert isinstance(getattr(reason, "__cause__", None), ValueError)
    actor.lose(ValueError("too late"))
    assert exits.empty()


def test_asker_lives_on_with_the_fault_of_another(stage: Stage) -> None:
    """An actor that lets the fault of one that it asked through lives on itself."""
    enter(stage, "a")
    enter(stage, "b")

    async def through(_: Any) -> Any:
        return await stage.ask("b", Do(raise_(ValueError("boom"))))

    with pytest.raises(Fault, match="b died of ValueError"):
        stage.do("a", through)
    assert stage.ask("a", "alive?").wait() == "alive?"


def test_message_that_nobody_takes_kills(events: Any) -> None:
    """A message that an actor does not know is a bug, answered as a fault."""
    ref = ThreadActor.start(Directory(), "plain")
    with pytest.raises(Fault, match="NotImplementedError: plain does not take 'what'"):
        ask(ref, "what", PATIENCE, "plain").wait()


def test_late_messages_are_answered(stage: Stage) -> None:
    """What waits behind a death, and what comes after it, is refused as unavailable; tells are gone."""
    ref = enter(stage, "a")
    exits = stage.ready(ref)
    gate = Gate(stage)
    stage.tell("a", Do(gate))
    gate.wait()
    stage.tell("a", Do(raise_(ValueError("boom"))))
    waiting = stage.ask("a", "waits")
    gate.open()
    exits.get(timeout=PATIENCE)
    for reply in (waiting, stage.ask("a", "late"), stage.ask("a", Crash())):
        with pytest.raises(Refused, match="unavailable: a ended before it could answer: nothing was done"):
            reply.wait()
    stage.tell("a", "late")


def test_stop_is_answered_when_it_is_over(stage: Stage) -> None:
    """Every Stop, of ours and of pykka, before, during and after the end, is answered when `end` is over."""
    gate = Gate(stage)
    ref = enter(stage, "a", Script(end=gate))
    stops = [stage.ask("a", Stop()), stage.ask("a", Stop())]
    gate.wait()
    stops.append(stage.ask("a", Stop()))
    assert not any(each.answered for each in stops)
    gate.open()
    assert [each.wait() for each in stops] == [True, True, True]
    assert stage.ask("a", Stop()).wait() is True
    assert ref.stop() is False


def test_watch_on_a_dead_one_answers_with_its_death(stage: Stage) -> None:
    """Whoever watches one that is dead hears what it died of; of a refusal, the refusal itself."""
    bug = enter(stage, "bug", Script(begin=raise_(ValueError("boom"))))
    refusal = enter(stage, "refusal", Script(begin=raise_(Refused(Code.DENIED, "no"))))
    for _ in range(2):
        with pytest.raises(Fault, match="bug ended before it was ready: ValueError: boom"):
            ask(bug, Watch(raise_(AssertionError("no Exit"))), PATIENCE, "bug").wait()
        with pytest.raises(Refused, match="denied: no"):
            ask(refusal, Watch(raise_(AssertionError("no Exit"))), PATIENCE, "refusal").wait()


def test_watch_waits_for_the_end_of_a_failed_begin(stage: Stage) -> None:
    """A begin that failed is told when everything is given back, so that the next one finds it free."""
    gate = Gate(stage)
    ref = stage.start("a", Script(begin=raise_(ValueError("boom")), end=gate))
    watch = ask(ref, Watch(lambda _: None), PATIENCE, "a")
    gate.wait()
    assert not watch.answered
    gate.open()
    with pytest.raises(Fault, match="ended before it was ready"):
        watch.wait()


def test_asks_have_deadlines(stage: Stage) -> None:
    """An ask past its deadline is Unanswered, which names who did not answer; the answer still comes."""
    enter(stage, "a")
    gate = Gate(stage)
    slow = stage.ask("a", Do(gate), deadline=0.02)
    with pytest.raises(Unanswered, match=r"a did not answer within 0\.02 s"):
        slow.wait()
    gate.open()
    assert stage.ask("a", "barrier").wait() == "barrier"
    assert slow.answered


def test_ping_is_answered_behind_the_mailbox(stage: Stage) -> None:
    """A Pong comes when what was there before the Ping is done, from that very incarnation."""
    ref = enter(stage, "a")
    gate = hold(stage, "a")
    heard: list[Any] = []
    stage.tell("a", Do(lambda _: heard.append("work")))
    stage.tell("a", Ping(heard.append))
    gate.open()
    stage.ask("a", "barrier").wait()
    assert heard == ["work", Pong(ref.actor_urn, "a")]


def test_finish(stage: Stage) -> None:
    """An actor that has finished answers the message under way and ends without a fault."""
    exits = stage.ready(enter(stage, "a"))
    assert stage.do("a", lambda actor: actor.finish() or "done") == "done"
    assert exits.get(timeout=PATIENCE).reason is None


def test_asks_only_whom_it_declares(stage: Stage) -> None:
    """An address of a role that the class does not declare is a bug."""
    enter(stage, "a")
    with pytest.raises(Fault, match="does not declare that it asks other:1"):
        stage.do("a", lambda actor: actor.address("other:1"))


def test_nobody_of_that_name(stage: Stage) -> None:
    """An ask of a name that nobody has is refused as unavailable, and a tell does nothing."""
    with pytest.raises(Refused, match="unavailable: ghost is not running"):
        stage.ask("ghost", "hello").wait()
    stage.tell("ghost", "hello")


def test_thread_actor_that_awaits_something_else(threads: Stage) -> None:
    """A thread has no loop: what is no reply cannot be awaited there, neither at work nor at the end."""
    ref = enter(threads, "a", Script(end=lambda _: asyncio.sleep(0)))
    exits = threads.ready(ref)
    with pytest.raises(Fault, match="a thread actor can await replies only"):
        threads.do("a", lambda _: asyncio.sleep(0))
    assert isinstance(exits.get(timeout=PATIENCE).reason, RuntimeError)


def test_busy_loop_actor_lets_others_live(loops: Stage) -> None:
    """An actor with a long mailbox does not keep the loop to itself until it is empty."""
    enter(loops, "busy")
    enter(loops, "other")
    order: list[str] = []
    gate = hold(loops, "busy")
    loops.tell("busy", Do(lambda _: loops.tell("other", Do(lambda _: order.append("other")))))
    for _ in range(10 * FAIR):
        loops.tell("busy", Do(lambda _: order.append("busy")))
    gate.open()
    loops.ask("busy", "barrier").wait()
    loops.ask("other", "barrier").wait()
    assert order.index("other") <= FAIR


def test_dead_actors_are_freed_without_the_collector(stage: Stage) -> None:
    """An actor that was stopped is in no reference cycle: it goes with its last reference."""
    ref = enter(stage, "a")
    stage.ready(ref)
    gc.collect()
    gc.disable()
    try:
        actor = weakref.ref(stage.next_life("a"))
        stage.do("a", lambda actor: None)
        with pytest.raises(Refused):
            stage.do("a", raise_(Refused(Code.DENIED, "no")))
        freed = threading.Event()
        weakref.finalize(actor(), freed.set)
        stage.ask("a", Stop()).wait()
        assert freed.wait(PATIENCE)
    finally:
        gc.enable()


def test_start_on_a_closed_loop(loops: Stage) -> None:
    """An actor that cannot start leaves nothing behind; its loop being closed, messages are answered."""
    ref = enter(loops, "a")
    loops.ready(ref)
    loops.events.close()
    with pytest.raises(Refused, match="a ended before it could answer"):
        loops.ask("a", "late").wait()
    with pytest.raises(RuntimeError, match="closed"):
        loops.start("b")
    assert pykka.ActorRegistry.get_all() == []


def test_inbox_whose_loop_closed_under_it(loops: Stage) -> None:
    """Messages to an actor that never got to run, as its loop is closed, are answered all the same."""

    class Still(LoopWorker):
        def _start_life(self) -> None:
            """Do not."""

    ref = Still.start(loops, "still", Script())
    before = ask(ref, "before", PATIENCE, "still")
    loops.events.close()
    after = ask(ref, "after", PATIENCE, "still")
    for reply in (before, after):
        with pytest.raises(Refused, match="still ended before it could answer"):
            reply.wait()
    pykka.ActorRegistry.unregister(ref)


def test_put_while_closing_is_answered_exactly_once(threads: Stage) -> None:
    """Whatever is put while an inbox closes is either handled or refused, never both, never neither."""
    for _ in range(20):
        ref = enter(threads, "a")
        replies: list[Any] = []

        def put(ref: Any = ref, replies: list[Any] = replies) -> None:
            replies.extend(ask(ref, number, PATIENCE, "a") for number in range(200))

        putter = threading.Thread(target=put)
        putter.start()
        ref.actor_inbox.put(Envelope(Stop()))
        putter.join()
        outcomes = []
        for number, reply in enumerate(replies):
            try:
                outcomes.append(reply.wait() == number)
            except Refused:
                outcomes.append(False)
        assert outcomes == sorted(outcomes, reverse=True)
