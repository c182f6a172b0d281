"""Children that hang: found by ping, fenced, replaced, counted."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import structlog

from moorage.errors import Fault, Refused
from moorage.supervision.child import Child
from moorage.supervision.messages import Start, Tick
from moorage.supervision.policy import Intensity
from moorage.supervision.supervisor import ABANDONED_LIMIT, GaveUp
from supervision.rig import PATIENCE, Do, Gate, Many, Stage, raise_

GENEROUS = Intensity(100, 30.0)


def test_asker_of_a_hung_actor_hears_that_the_outcome_is_unknown(stage: Stage) -> None:
    """What hangs, and what waits behind it, is answered when the actor is given up."""
    child = stage.child("a")
    stage.running("top", child)
    stage.next_life("a")
    gate = Gate(stage)
    hung, behind = stage.ask("a", Do(gate)), stage.ask("a", "behind")
    gate.wait()
    stage.tick("top")
    stage.tick("top", 31.0)
    with pytest.raises(Fault, match="a hung and was given up: the outcome is unknown"):
        hung.wait()
    with pytest.raises(Refused, match="unavailable: a ended before it could answer"):
        behind.wait()
    stage.next_life("a")
    stage.settled("top", child)
    assert stage.ask("a", "new").wait() == "new"
    gate.open()


def test_whole_batch_that_hangs_is_answered(threads: Stage) -> None:
    """Every message of a batch under way is answered when the actor is given up."""
    threads.running("top", threads.child("a"))
    gate, before = Gate(threads), Gate(threads)
    threads.tell("a", Do(before))
    before.wait()
    replies = [threads.ask("a", Many(1)), threads.ask("a", Many(gate))]
    before.open()
    gate.wait()
    threads.tick("top")
    threads.tick("top", 31.0)
    for reply in replies:
        with pytest.raises(Fault, match="a hung and was given up"):
            reply.wait()
    gate.open()


def test_zombie_that_wakes_up_reaches_nobody(threads: Stage) -> None:
    """A given-up thread that wakes up sends nothing, answers nobody, ends, and is counted no more."""
    child = threads.child("a")
    threads.running("top", child, threads.child("other"))
    gate = Gate(threads)
    heard: list[Any] = []

    def wake_up(actor: Any) -> str:
        actor.asks = frozenset({"other"})
        address = actor.address("other")
        gate(actor)
        address.tell(Do(lambda _: heard.append("told")))
        with pytest.raises(Refused, match="other is not running"):
            address.ask(Do(lambda _: heard.append("asked"))).wait()
        return "zombie"

    zombie = threads.next_life("a")
    exits = threads.ready(zombie.actor_ref)
    hung = threads.ask("a", Do(wake_up))
    gate.wait()
    threads.tick("top")
    threads.tick("top", 31.0)
    threads.next_life("a")
    threads.settled("top", child)
    assert threads.directory.abandoned == 1
    present = threads.ref("a").actor_urn
    gate.open()
    assert exits.get(timeout=PATIENCE).urn == zombie.actor_urn
    threads.barrier("top")
    threads.ask("other", "barrier").wait()
    assert heard == []
    assert isinstance(hung.error(), Fault)
    assert threads.directory.abandoned == 0
    assert threads.directory.is_fenced(zombie.actor_urn)
    assert threads.ref("a").actor_urn == present
    assert threads.directory.restarts == 1


def test_too_many_that_hang_give_up(threads: Stage) -> None:
    """Past the limit of given-up threads only a new process helps, whatever the intensity."""
    top, exits = threads.running("top", threads.child("a"), intensity=GENEROUS)
    gates = [Gate(threads) for _ in range(ABANDONED_LIMIT + 1)]
    for gate in gates:
        threads.next_life("a")
        threads.settled("top", threads.child("a"))
        threads.tell("a", Do(gate))
        gate.wait()
        threads.tick("top")
        threads.now += 31.0
        top.tell(Tick())
    reason = exits.get(timeout=PATIENCE).reason
    assert isinstance(reason, GaveUp)
    assert "4 actors hang" in str(reason)
    for gate in gates:
        gate.open()


def test_ping_only_for_those_with_work(stage: Stage) -> None:
    """An idle child is not pinged; a busy one is, once, and its Pong clears it."""
    pinged: list[str] = []
    stage.running("top", stage.child("idle"), stage.child("busy"))
    for name in ("idle", "busy"):
        stage.ask(name, "begun").wait()
        put = stage.ref(name).actor_inbox.put

        def note(envelope: Any, name: str = name, put: Any = put) -> None:
            if type(envelope.message).__name__ == "Ping":
                pinged.append(name)
            put(envelope)

        stage.ref(name).actor_inbox.put = note  # type: ignore[method-assign]  # a spy
    gate = Gate(stage)
    stage.tell("busy", Do(gate))
    gate.wait()
    stage.tick("top", 1.0)
    stage.tick("top", 1.0)
    assert pinged == ["busy"]
    gate.open()
    stage.ask("busy", "done").wait()
    stage.barrier("top")
    stage.tick("top", 40.0)
    assert stage.directory.restarts == 0


def test_patience_without_end(stage: Stage) -> None:
    """A child without patience may take as long as it likes."""
    stage.running("top", stage.child("a", patience=None))
    gate = Gate(stage)
    slow = stage.ask("a", Do(gate))
    gate.wait()
    stage.tick("top", 1.0)
    stage.tick("top", 1e6)
    assert stage.directory.restarts == 0
    gate.open()
    slow.wait()


def test_loop_that_is_blocked_ends_in_giving_up(threads: Stage) -> None:
    """A loop actor that blocks the whole loop is noticed by a thread root, which gives up in the end."""
    loops = Stage(False, threads.directory, threads.events)
    inner = loops.nested("inner", loops.child("a", shutdown=0.05))
    root, exits = threads.running("root", inner, intensity=Intensity(2, 1000.0))
    held, blocked = threading.Event(), threading.Event()

    def block(_: Any) -> None:
        blocked.set()
        held.wait(PATIENCE)

    loops.tell("a", Do(block))
    assert blocked.wait(PATIENCE)
    loops.tell("inner", "something to do")
    threads.tick("root")
    for _ in range(2):
        threads.tick("root", 31.0)
    threads.now += 31.0
    root.tell(Tick())
    assert isinstance(exits.get(timeout=PATIENCE).reason, GaveUp)
    held.set()


def test_orphans_of_a_hung_supervisor_are_ended_before_the_next(stage: Stage) -> None:
    """Children of a supervisor that hangs are ended before another one starts them anew."""
    gate = Gate(stage)

    async def restore() -> list[Any]:
        return [stage.child("x")]

    def hang() -> Any:
        gate.entered.set()
        assert gate._open.wait(PATIENCE)
        raise OSError("too late")

    root = Stage(True, stage.directory, stage.events)
    threads = Stage(True, stage.directory, stage.events, story=stage.story, begun=stage.begun)
    inner = threads.nested("inner", restore=restore)
    root.running("root", inner)
    former = stage.ref("x").actor_urn
    stage.next_life("x")
    late = root.ask("inner", Start(Child("late", hang)))
    gate.wait()
    root.tell("inner", Tick())
    root.tick("root")
    root.tick("root", 31.0)
    with pytest.raises(Fault, match="inner hung and was given up"):
        late.wait()
    stage.next_life("x")
    root.settled("root", inner)
    assert stage.ref("x").actor_urn != former
    assert stage.story == [("begin", "x"), ("end", "x"), ("begin", "x")]
    gate.open()


def test_loop_actor_given_up_is_cancelled(loops: Stage) -> None:
    """A coroutine that awaits for ever is cancelled, so that it does not hang and is not counted."""
    loops.running("top", loops.child("a"))
    exits = loops.ready(loops.next_life("a").actor_ref)
    started = threading.Event()

    async def for_ever() -> None:
        started.set()
        await asyncio.Event().wait()

    loops.tell("a", Do(lambda _: for_ever()))
    assert started.wait(PATIENCE)
    loops.tick("top")
    loops.tick("top", 31.0)
    assert isinstance(exits.get(timeout=PATIENCE).reason, asyncio.CancelledError)
    assert loops.directory.abandoned == 0


def test_the_log_names_what_happened(stage: Stage) -> None:
    """Deaths, restarts and given-up lives are logged as facts with fields."""
    with structlog.testing.capture_logs() as entries:
        stage.running("top", child := stage.child("a"))
        stage.next_life("a")
        stage.tell("a", Do(raise_(ValueError("boom"))))
        stage.next_life("a")
        stage.settled("top", child)
    assert [(each["event"], each["actor"]) for each in entries] == [
        ("actor_died", "a"),
        ("actor_restarted", "top"),
    ]
    assert entries[1]["reason"] == "ValueError: boom"
