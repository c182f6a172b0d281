"""Children found anew at each start of their supervisor, and starts that cannot happen."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.errors import Code, Fault, Refused
from moorage.supervision.child import Child
from moorage.supervision.messages import Crash, Halt, Start
from moorage.supervision.policy import Intensity
from moorage.supervision.supervisor import GaveUp
from supervision.rig import PATIENCE, Script, Stage, first, raise_


def test_restore_is_found_anew(stage: Stage) -> None:
    """A supervisor that crashed finds its restored children anew when it is restarted."""
    found: list[str] = ["x", "y"]

    async def restore() -> list[Any]:
        return [stage.child(name) for name in found]

    inner = stage.nested("inner", restore=restore)
    stage.running("root", inner)
    assert set(stage.states()) == {"root", "inner", "x", "y"}
    found[:] = ["y", "z"]
    stage.ask("inner", Crash()).wait()
    stage.next_life("z")
    stage.settled("root", inner)
    assert set(stage.states()) == {"root", "inner", "y", "z"}
    assert set(stage.states().values()) <= {"running", "starting"}


def test_restored_child_that_fails_is_tried_again(stage: Stage) -> None:
    """A restored child that cannot begin counts as a crash; the others are not disturbed."""
    bad = stage.child("bad", Script(begin=first(raise_(Refused(Code.PORT_IN_USE, "taken")))))

    async def restore() -> list[Any]:
        return [bad, stage.child("good")]

    stage.running("top", restore=restore)
    stage.next_life("bad"), stage.next_life("bad")
    stage.settled("top", bad)
    assert stage.directory.restarts_of("bad") == 1
    assert stage.directory.restarts_of("good") == 0


def test_start_that_cannot_even_make_the_actor_is_the_askers_fault(stage: Stage) -> None:
    """An error in the constructor of a dynamic child is answered, and its supervisor lives on."""
    top, _ = stage.running("top")
    with pytest.raises(Fault, match="x could not be started: ValueError: boom"):
        stage.ask("top", Start(Child("x", lambda: raise_(ValueError("boom"))(None)))).wait()
    assert stage.ask("top", Halt("x")).wait() is False
    assert top.is_alive()


def test_restart_that_cannot_make_the_actor_counts(stage: Stage) -> None:
    """When a restart fails in the constructor it is tried again, within the intensity."""
    fail = raise_(OSError("no thread"))
    start = first(lambda _: stage.start("x"), fail, fail, fail)
    child = Child("x", lambda: start(None))
    _, exits = stage.running("top", child, intensity=Intensity(3, 30.0))
    stage.ask("x", Crash()).wait()
    reason = exits.get(timeout=PATIENCE).reason
    assert isinstance(reason, GaveUp)
    assert stage.directory.restarts == 3
