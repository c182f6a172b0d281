"""Children that come and go while their supervisor lives."""

from __future__ import annotations

import queue
from typing import Any

import pytest
from pykka._envelope import Envelope

from moorage.errors import Code, Fault, Refused
from moorage.supervision.child import Child
from moorage.supervision.messages import Crash, Exit, Halt, Start, Watch
from moorage.supervision.policy import Intensity, Restart
from supervision.rig import PATIENCE, Gate, Script, Stage, first, raise_


def test_start_and_halt(stage: Stage) -> None:
    """Start answers True when the child is ready; Halt answers True when its life is over."""
    stage.running("top")
    assert stage.ask("top", Start(stage.child("x"))).wait() is True
    assert stage.ask("x", "hello").wait() == "hello"
    assert stage.ask("top", Halt("x")).wait() is True
    assert stage.story == [("begin", "x"), ("end", "x")]
    assert set(stage.states()) == {"top"}


def test_twice(stage: Stage) -> None:
    """A second Start answers False and starts nobody; a second Halt answers False."""
    stage.running("top")
    child = stage.child("x")
    assert [stage.ask("top", Start(child)).wait() for _ in range(2)] == [True, False]
    assert [stage.ask("top", Halt("x")).wait() for _ in range(2)] == [True, False]
    assert stage.story == [("begin", "x"), ("end", "x")]


def test_start_during_start(stage: Stage) -> None:
    """Whoever asks for a child that is about to begin gets the same life."""
    stage.running("top")
    gate = Gate(stage)
    child = stage.child("x", Script(begin=gate))
    replies = [stage.ask("top", Start(child)) for _ in range(2)]
    gate.wait()
    assert not any(reply.answered for reply in replies)
    gate.open()
    assert [reply.wait() for reply in replies] == [True, True]
    assert stage.story == [("begin", "x")]


def test_first_message(stage: Stage) -> None:
    """What is sent along with Start is answered by the child, whether it is new, about to begin, or runs already."""
    stage.running("top")
    gate = Gate(stage)
    child = stage.child("x", Script(begin=gate))
    replies = [stage.ask("top", Start(child, word)) for word in ("new", "begins")]
    gate.wait()
    assert not any(reply.answered for reply in replies)
    gate.open()
    assert [reply.wait() for reply in replies] == ["new", "begins"]
    assert stage.ask("top", Start(child, "runs")).wait() == "runs"
    assert stage.story == [("begin", "x")]


def test_first_message_to_nobody(stage: Stage) -> None:
    """What is sent along to a child that dies before it is ready, or cannot be had, is answered with an error."""
    stage.running("top")
    dying = stage.child("x", Script(begin=raise_(ValueError("boom"))))
    with pytest.raises(Refused, match="x ended before it could answer: nothing was done"):
        stage.ask("top", Start(dying, "hello")).wait()
    stillborn = Child("y", lambda: raise_(ValueError("boom"))(None))
    with pytest.raises(Fault, match="y could not be started: ValueError: boom"):
        stage.ask("top", Start(stillborn, "hello")).wait()
    stage.barrier("top")
    assert set(stage.states()) == {"top"}


def test_halt_during_start(stage: Stage) -> None:
    """A child halted before it is ready is refused to whoever started it, and the halt is answered."""
    stage.running("top")
    gate = Gate(stage)
    started = stage.ask("top", Start(stage.child("x", Script(begin=gate))))
    gate.wait()
    halted = stage.ask("top", Halt("x"))
    stage.barrier("top")
    gate.open()
    assert halted.wait() is True
    with pytest.raises(Refused, match="x was stopped before it was ready"):
        started.wait()
    assert stage.story == [("begin", "x"), ("end", "x")]
    assert set(stage.states()) == {"top"}


def test_start_during_halt(stage: Stage) -> None:
    """A child that is being halted cannot be started until it is over; then it can."""
    stage.running("top")
    gate = Gate(stage)
    child = stage.child("x", Script(end=gate))
    stage.ask("top", Start(child)).wait()
    halted = [stage.ask("top", Halt("x")) for _ in range(2)]
    gate.wait()
    with pytest.raises(Refused, match="unavailable: x is stopping"):
        stage.ask("top", Start(child)).wait()
    gate.open()
    assert [each.wait() for each in halted] == [True, True]
    assert stage.ask("top", Start(child)).wait() is True


def test_halt_during_restart(stage: Stage) -> None:
    """A child halted while it begins its next life is gone for good."""
    stage.running("top")
    gate = Gate(stage)
    script = Script()
    stage.ask("top", Start(stage.child("x", script))).wait()
    script.begin = gate
    stage.ask("x", Crash()).wait()
    gate.wait()
    halted = stage.ask("top", Halt("x"))
    stage.barrier("top")
    gate.open()
    assert halted.wait() is True
    assert set(stage.states()) == {"top"}


def test_refused_start_is_the_askers(stage: Stage) -> None:
    """A refusal in begin is the asker's: no crash, no restart, nothing left, and it may be tried again."""
    top, _ = stage.running("top", intensity=Intensity(0, 30.0))
    child = stage.child("x", Script(begin=first(raise_(Refused(Code.PORT_IN_USE, "held by nginx")))))
    with pytest.raises(Refused, match="port_in_use: held by nginx"):
        stage.ask("top", Start(child)).wait()
    assert set(stage.states()) == {"top"}
    assert stage.directory.restarts == 0
    assert stage.ask("top", Start(child)).wait() is True
    assert top.is_alive()


def test_begin_that_breaks_is_the_askers_fault(stage: Stage) -> None:
    """A bug in the first begin is a fault of the asker, who hears of it when the failed life has ended."""
    stage.running("top", intensity=Intensity(0, 30.0))
    with pytest.raises(Fault, match="x ended before it was ready: ValueError: boom"):
        stage.ask("top", Start(stage.child("x", Script(begin=raise_(ValueError("boom")))))).wait()
    assert stage.story == [("begin", "x"), ("end", "x")]
    assert stage.directory.restarts == 0


def test_slow_child_delays_nobody(stage: Stage) -> None:
    """Others are started, restarted and halted while one child is slow to begin."""
    stage.running("top")
    gate = Gate(stage)
    slow = stage.ask("top", Start(stage.child("slow", Script(begin=gate))))
    gate.wait()
    child = stage.child("x")
    assert stage.ask("top", Start(child)).wait() is True
    stage.next_life("x")
    stage.ask("x", Crash()).wait()
    stage.next_life("x")
    stage.settled("top", child)
    assert stage.ask("top", Halt("x")).wait() is True
    assert not slow.answered
    gate.open()
    assert slow.wait() is True


def test_crash_of_a_ready_child_is_repaired(stage: Stage) -> None:
    """Once ready, a dynamic child is restarted like any other."""
    stage.running("top")
    child = stage.child("x", restart=Restart.TRANSIENT)
    stage.ask("top", Start(child)).wait()
    stage.next_life("x")
    stage.ask("x", Crash()).wait()
    stage.next_life("x")
    stage.settled("top", child)
    assert stage.directory.restarts_of("x") == 1


def test_child_that_ends_at_once_was_ready_first(stage: Stage) -> None:
    """However soon a child ends after its begin, its starter hears that it was ready."""

    def start() -> Any:
        ref = stage.start("x")
        put = ref.actor_inbox.put

        def die_at_once(envelope: Any) -> None:
            put(envelope)
            if isinstance(envelope.message, Watch):
                exits: queue.Queue[Exit] = queue.Queue()
                put(Envelope(Watch(exits.put)))
                put(Envelope(Crash()))
                exits.get(timeout=PATIENCE)

        ref.actor_inbox.put = die_at_once if stage.threads else put
        return ref

    stage.running("top")
    assert stage.ask("top", Start(Child("x", start, Restart.TEMPORARY))).wait() is True


def test_stop_while_a_start_is_under_way(stage: Stage) -> None:
    """A supervisor that stops refuses the starts under way, and ends the children when they have begun."""
    top, exits = stage.running("top")
    gate = Gate(stage)
    started = stage.ask("top", Start(stage.child("x", Script(begin=gate))))
    gate.wait()
    stop = top.stop(block=False)
    with pytest.raises(Refused, match="x was stopped before it was ready"):
        started.wait()
    gate.open()
    assert stop.get(timeout=PATIENCE) is True
    assert stage.story == [("begin", "x"), ("end", "x")]
    assert exits.get(timeout=PATIENCE).reason is None


def test_giving_up_answers_who_waits(stage: Stage) -> None:
    """When a supervisor gives up, the starts under way are refused."""
    stage.running("top", stage.child("bad"), intensity=Intensity(0, 30.0))
    gate = Gate(stage)
    started = stage.ask("top", Start(stage.child("x", Script(begin=gate))))
    gate.wait()
    stage.ask("bad", Crash()).wait()
    with pytest.raises(Refused, match="x was stopped before it was ready"):
        started.wait()
    gate.open()


def test_stop_ends_dynamic_children_side_by_side(stage: Stage) -> None:
    """The ends of dynamic children wait for each other in no way."""
    top, _ = stage.running("top")
    gates = [Gate(stage) for _ in range(3)]
    for number, gate in enumerate(gates):
        stage.ask("top", Start(stage.child(f"x{number}", Script(end=gate)))).wait()
    stop = top.stop(block=False)
    for gate in gates:
        gate.wait()
    for gate in gates:
        gate.open()
    assert stop.get(timeout=PATIENCE) is True


def test_slow_begin_of_a_dynamic_child_is_given_up(stage: Stage) -> None:
    """A dynamic child that is not ready in time is its starter's fault to hear, and can be started anew."""
    stage.running("top")
    gate = Gate(stage)
    child = stage.child("x", Script(begin=first(gate)), ready=10.0)
    started = stage.ask("top", Start(child))
    gate.wait()
    stage.tick("top", 11.0)
    with pytest.raises(Fault, match="x was not ready in time"):
        started.wait()
    assert stage.ask("top", Start(child)).wait() is True
    gate.open()


def test_halt_of_one_that_does_not_end_is_answered(stage: Stage) -> None:
    """A halt is answered when its child is given up, past the shutdown deadline."""
    stage.running("top")
    gate = Gate(stage)
    stage.ask("top", Start(stage.child("x", Script(end=gate), shutdown=5.0))).wait()
    halted = stage.ask("top", Halt("x"))
    gate.wait()
    stage.tick("top", 6.0)
    assert halted.wait() is True
    assert set(stage.states()) == {"top"}
    gate.open()
