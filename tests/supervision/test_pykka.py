"""What stock pykka does, edge by edge: an upgrade that changes one of these shows here first."""

from __future__ import annotations

import inspect
import logging
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pykka
import pykka._actor
import pykka.messages
import pytest
from pykka._envelope import Envelope

PATIENCE = 10.0


class Life(pykka.ThreadingActor):
    """Calls what it is sent, and notes which hooks ran."""

    def __init__(
        self, on_start: Callable[[], Any] | None = None, on_stop: Callable[[], Any] | None = None
    ) -> None:
        super().__init__()
        self._begin, self._end = on_start, on_stop
        self.notes: list[str] = []
        self.thread: threading.Thread | None = None

    def on_start(self) -> None:
        self.thread = threading.current_thread()
        if self._begin is not None:
            self._begin()

    def on_stop(self) -> None:
        if self._end is not None:
            self._end()

    def on_failure(self, *_: Any) -> None:
        self.notes.append("on_failure")

    def on_receive(self, message: Any) -> Any:
        return message(self) if callable(message) else message


def boom(_: Any = None) -> None:
    raise ValueError("boom")


def own(ref: pykka.ActorRef[Life]) -> Life:
    return ref.ask(lambda actor: actor)


def gone(actor: Life) -> None:
    assert actor.thread is not None
    actor.thread.join(PATIENCE)
    assert not actor.thread.is_alive()


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    caplog.set_level(logging.CRITICAL, "pykka")
    yield
    pykka.ActorRegistry.stop_all(timeout=PATIENCE)


def test_tell_that_raises_kills() -> None:
    """An error under tell ends the actor, after on_failure."""
    ref = Life.start()
    actor = own(ref)
    ref.tell(boom)
    gone(actor)
    assert (ref.is_alive(), actor.notes) == (False, ["on_failure"])


def test_ask_that_raises_does_not_kill() -> None:
    """An error under ask goes to the asker, and the actor lives on with what the bug left."""
    ref = Life.start()
    with pytest.raises(ValueError, match="boom"):
        ref.ask(boom)
    assert own(ref).notes == []
    assert ref.is_alive()


def test_on_start_that_raises_kills_without_on_failure() -> None:
    """An error in on_start ends the actor unheard; later asks meet a dead actor."""
    made: list[Life] = []

    class Noted(Life):
        def __init__(self) -> None:
            super().__init__(on_start=boom)
            made.append(self)

    ref = Noted.start()
    assert ref.actor_stopped.wait(PATIENCE)
    with pytest.raises(pykka.ActorDeadError):
        ref.ask("late")
    gone(made[0])
    assert made[0].notes == []


def test_on_stop_that_raises_is_unheard() -> None:
    """An error in on_stop leaves stop() with True and calls no on_failure."""
    ref = Life.start(on_stop=boom)
    actor = own(ref)
    assert ref.stop(timeout=PATIENCE) is True
    gone(actor)
    assert actor.notes == []


@pytest.mark.parametrize("error", ["SystemExit", "KeyboardInterrupt"])
def test_system_exit_ends_every_actor_and_never_answers(error: str) -> None:
    """SystemExit in one handler stops all actors of the process, and its asker waits for ever."""
    program = f"""
import pykka
class Bystander(pykka.ThreadingActor): pass
class Guilty(pykka.ThreadingActor):
    def on_receive(self, message): raise {error}
bystander = Bystander.start()
reply = Guilty.start().ask("die", block=False)
assert bystander.actor_stopped.wait({PATIENCE}), "the bystander lives"
try:
    reply.get(timeout=0.3)
except pykka.Timeout:
    print("never answered")
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.returncode) == ("never answered\n", 0), done.stderr


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_failure_outside_the_loops_try_leaves_a_ghost() -> None:
    """When the inbox itself fails the thread is gone, but the actor counts as alive and stays registered."""

    class Broken(Life):
        @staticmethod
        def _create_actor_inbox() -> Any:
            class Inbox(queue.Queue[Envelope[Any]]):
                def get(self, *_: Any, **__: Any) -> Envelope[Any]:
                    raise OSError("no inbox")

            return Inbox()

    started = threading.Event()
    thread: list[threading.Thread] = []

    def begin() -> None:
        thread.append(threading.current_thread())
        started.set()

    ref = Broken.start(on_start=begin)
    assert started.wait(PATIENCE)
    thread[0].join(PATIENCE)
    assert not thread[0].is_alive()
    assert ref.is_alive()
    assert ref in pykka.ActorRegistry.get_all()
    pykka.ActorRegistry.unregister(ref)


def test_init_that_raises_is_the_callers() -> None:
    """An error in __init__ is raised by start(), in the caller's thread, and nothing is registered."""

    class Stillborn(pykka.ThreadingActor):
        def __init__(self) -> None:
            raise ValueError(threading.current_thread().name)

    with pytest.raises(ValueError, match=threading.current_thread().name):
        Stillborn.start()
    assert pykka.ActorRegistry.get_by_class(Stillborn) == []


def test_queued_behind_a_crash() -> None:
    """What waits behind a crash: asks meet a dead actor, tells are dropped silently."""
    ref = Life.start()
    actor = own(ref)
    handled: list[str] = []
    held = threading.Event()
    ref.tell(lambda _: held.wait(PATIENCE))
    ref.tell(boom)
    ref.tell(lambda _: handled.append("tell"))
    reply = ref.ask("ask", block=False)
    held.set()
    with pytest.raises(pykka.ActorDeadError):
        reply.get(timeout=PATIENCE)
    gone(actor)
    assert handled == []


def test_put_after_teardown_is_never_answered() -> None:
    """is_alive() is checked before the put: an ask between them is never answered."""
    ref = Life.start()
    actor = own(ref)
    ref.stop(timeout=PATIENCE)
    gone(actor)
    reply: pykka.ThreadingFuture[Any] = pykka.ThreadingFuture()
    ref.actor_inbox.put(Envelope("late", reply_to=reply))
    with pytest.raises(pykka.Timeout):
        reply.get(timeout=0.1)


def test_stop_queues_behind_a_hang() -> None:
    """stop(timeout=) runs into its timeout while a handler hangs, and the actor counts as alive."""
    ref = Life.start()
    held = threading.Event()
    ref.tell(lambda _: held.wait(PATIENCE))
    with pytest.raises(pykka.Timeout):
        ref.stop(timeout=0.05)
    assert ref.is_alive()
    held.set()


def test_slow_on_stop_counts_as_dead() -> None:
    """During on_stop the actor is already not alive, whatever it still holds."""
    stopping, held = threading.Event(), threading.Event()

    def slow() -> None:
        stopping.set()
        held.wait(PATIENCE)

    ref = Life.start(on_stop=slow)
    stop = ref.stop(block=False)
    assert stopping.wait(PATIENCE)
    assert not ref.is_alive()
    held.set()
    assert stop.get(timeout=PATIENCE) is True


def test_only_one_registry_and_no_names() -> None:
    """The registry belongs to the process and knows actors by urn and class."""
    ref = Life.start()
    assert ref in pykka.ActorRegistry.get_all()
    assert pykka.ActorRegistry.get_by_urn(ref.actor_urn) is ref


@pytest.mark.parametrize(
    ("hook", "parameters"),
    [
        ("_create_actor_inbox", []),
        ("_create_future", []),
        ("_start_actor_loop", ["self"]),
        ("_actor_loop", ["self"]),
        ("_actor_loop_setup", ["self"]),
        ("_actor_loop_running", ["self"]),
        ("_actor_loop_teardown", ["self"]),
        ("_handle_failure", ["self", "exception_type", "exception_value", "traceback"]),
        ("_handle_receive", ["self", "message"]),
        ("_stop", ["self"]),
    ],
)
def test_private_names(hook: str, parameters: list[str]) -> None:
    """The hooks that we override, and the names that we must not take by accident, are what they were."""
    assert list(inspect.signature(getattr(pykka.Actor, hook)).parameters) == parameters


def test_private_names_are_all_known() -> None:
    """No private name of pykka's actor is beyond those that the other test knows."""
    ours = {"_stop", "_abc_impl"}
    private = {
        name for name in vars(pykka.Actor) if name.startswith("_") and not name.startswith("__")
    } - ours
    assert all(name.startswith(("_actor_", "_handle_", "_create_", "_start_actor_")) for name in private), (
        private
    )


def test_envelope_and_stop_message() -> None:
    """An envelope holds a message and whom to answer; stop() sends `_ActorStop` by the actor's own future."""
    assert Envelope.__slots__ == ["message", "reply_to"]
    assert issubclass(pykka.messages._ActorStop, object)
    source = inspect.getsource(pykka.ActorRef.stop)
    assert "_ActorStop" in source
    assert "__class__()" in source
