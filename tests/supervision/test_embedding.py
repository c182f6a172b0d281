"""Our actors among those of a program that uses pykka itself."""

from __future__ import annotations

import subprocess
import sys

import pykka
import pytest

from moorage.errors import Code, Fault, Refused
from supervision.rig import PATIENCE, Do, Stage, enter, raise_


def test_pykka_stops_us(stage: Stage) -> None:
    """ActorRegistry.stop_all, as an embedding program calls it, ends a tree in order, and nothing comes again."""
    inner = stage.nested("inner", stage.child("b"), stage.child("c"))
    _, exits = stage.running("root", stage.child("a"), inner)
    assert pykka.ActorRegistry.stop_all(timeout=PATIENCE) == [True]
    assert exits.get(timeout=PATIENCE).reason is None
    assert [name for what, name in stage.story if what == "end"] == ["c", "b", "a"]
    assert stage.directory.restarts == 0
    assert pykka.ActorRegistry.get_all() == []


def test_pykka_stop_of_a_child_is_an_exit(stage: Stage) -> None:
    """A permanent child that pykka's stop() ends comes again."""
    child = stage.child("a")
    stage.running("top", child)
    assert stage.next_life("a").actor_ref.stop() is True
    stage.next_life("a")
    stage.settled("top", child)
    assert stage.directory.restarts == 1


def test_pykka_tell_and_ask(stage: Stage) -> None:
    """References work as pykka's do."""
    ref = enter(stage, "a")
    ref.tell("hello")
    assert ref.ask("hello") == "hello"
    assert ref.ask("hello", block=False).get(timeout=PATIENCE) == "hello"
    with pytest.raises(Refused, match="no"):
        ref.ask(Do(raise_(Refused(Code.DENIED, "no"))))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_system_exit_of_ours_leaves_others_alone(stage: Stage, error: type[BaseException]) -> None:
    """SystemExit in an actor of ours ends that actor, not the actors of an embedding program."""
    bystander = pykka.ThreadingActor.start()
    exits = stage.ready(enter(stage, "a"))
    with pytest.raises(Fault, match=error.__name__):
        stage.do("a", raise_(error()))
    assert isinstance(exits.get(timeout=PATIENCE).reason, error)
    assert bystander.is_alive()
    bystander.stop()


def test_a_hang_does_not_keep_the_program() -> None:
    """A program ends though an actor of it hangs: their threads are daemons."""
    program = """
import threading
from moorage.supervision.actor import ThreadActor
from moorage.supervision.directory import Directory
started = threading.Event()
class Hangs(ThreadActor):
    async def begin(self):
        started.set()
        threading.Event().wait()
Hangs.start(Directory(), "a")
started.wait()
"""
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
