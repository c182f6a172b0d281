"""Supervisors, on threads and on the event loop: every way to die under every strategy."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from moorage.errors import Code, Fault, Refused
from moorage.supervision.messages import Began, Crash, Exit, Stop
from moorage.supervision.policy import Intensity, Restart, Strategy
from moorage.supervision.supervisor import GaveUp
from supervision.rig import PATIENCE, Do, Script, Stage, first, raise_

GENEROUS = Intensity(100, 30.0)
NAMES = ("a", "b", "c")


class Way:
    """A way for `b` to die once."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.script = Script()
        self.held = threading.Event()

    def tell(self) -> None:
        self.stage.tell("b", Do(raise_(ValueError("boom"))))

    def ask(self) -> None:
        with pytest.raises(Fault, match="b died of ValueError: boom"):
            self.stage.do("b", raise_(ValueError("boom")))

    def crash(self) -> None:
        assert self.stage.ask("b", Crash()).wait() is None

    def system_exit(self) -> None:
        with pytest.raises(Fault, match="SystemExit"):
            self.stage.do("b", raise_(SystemExit(1)))

    def keyboard_interrupt(self) -> None:
        with pytest.raises(Fault, match="KeyboardInterrupt"):
            self.stage.do("b", raise_(KeyboardInterrupt()))

    def begin(self) -> None:
        """The next life fails in its begin, and the one after that does not."""
        self.script.begin = first(raise_(ValueError("no begin")))
        self.tell()
        self.stage.next_life("b")

    def end(self) -> None:
        self.script.end = raise_(ValueError("no end"))
        self.tell()

    def stopped(self) -> None:
        self.stage.tell("b", Stop())

    def inbox(self) -> None:
        def break_inbox(actor: Any) -> None:
            actor.actor_inbox.take = lambda: raise_(OSError("no inbox"))(None)

        self.stage.do("b", break_inbox)

    def hang(self) -> None:
        started = threading.Event()

        def hang(actor: Any) -> Any:
            started.set()
            return (
                self.held.wait(PATIENCE) if self.stage.threads else asyncio.get_running_loop().create_future()
            )

        self.stage.tell("b", Do(hang))
        assert started.wait(PATIENCE)
        self.stage.tick("top")
        self.stage.tick("top", 31.0)
        if self.stage.threads:
            assert self.stage.directory.abandoned == 1


WAYS = (
    "tell", "ask", "crash", "system_exit", "keyboard_interrupt", "begin", "end", "stopped", "inbox", "hang",
)  # fmt: skip
AGAIN = {
    Strategy.ONE_FOR_ONE: ("b",),
    Strategy.REST_FOR_ONE: ("b", "c"),
    Strategy.ONE_FOR_ALL: ("a", "b", "c"),
}


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("how", WAYS)
def test_every_death_is_repaired_by_the_strategy(stage: Stage, how: str, strategy: Strategy) -> None:
    """However a child dies, exactly those that the strategy names are alive again in another incarnation."""
    way = Way(stage)
    children = [stage.child(name, way.script if name == "b" else None) for name in NAMES]
    stage.running("top", *children, strategy=strategy, intensity=GENEROUS)
    before = {name: stage.ref(name).actor_urn for name in NAMES}
    for name in NAMES:
        stage.next_life(name)
    getattr(way, how)()
    for name in AGAIN[strategy]:
        stage.next_life(name)
        stage.settled("top", children[NAMES.index(name)])
    after = {name: stage.ref(name).actor_urn for name in NAMES}
    assert {name for name in NAMES if before[name] != after[name]} == set(AGAIN[strategy])
    assert [stage.ask(name, "are you there?").wait() for name in NAMES] == ["are you there?"] * 3
    assert stage.states() == {
        "top": "running" if stage.states()["top"] == "running" else "starting"
    } | dict.fromkeys(NAMES, "running")
    way.held.set()


def test_group_is_stopped_in_reverse_and_started_in_order(stage: Stage) -> None:
    """one_for_all ends the others, the last one first, and starts all in order."""
    children = [stage.child(name) for name in NAMES]
    stage.running("top", *children, strategy=Strategy.ONE_FOR_ALL)
    stage.story.clear()
    stage.ask("b", Crash()).wait()
    for name in NAMES:
        stage.next_life(name), stage.next_life(name)
    stage.barrier("top")
    assert stage.story == [("end", "b"), ("end", "c"), ("end", "a")] + [("begin", name) for name in NAMES]


def test_start_in_order_stop_in_reverse(stage: Stage) -> None:
    """Children begin in order, each ready before the next, and end in reverse."""
    top, exits = stage.running("top", *[stage.child(name) for name in NAMES])
    assert [name for _, name in stage.story] == ["a", "b", "c"]
    assert top.stop() is True
    assert [name for _, name in stage.story] == ["a", "b", "c", "c", "b", "a"]
    assert exits.get(timeout=PATIENCE).reason is None
    assert set(stage.states()) == {"top"}


@pytest.mark.parametrize(
    ("restart", "how", "again"),
    [
        (Restart.PERMANENT, Stop(), True),
        (Restart.PERMANENT, Crash(), True),
        (Restart.TRANSIENT, Stop(), False),
        (Restart.TRANSIENT, Crash(), True),
        (Restart.TEMPORARY, Stop(), False),
        (Restart.TEMPORARY, Crash(), False),
    ],
)
def test_restart_types(stage: Stage, restart: Restart, how: Any, again: bool) -> None:
    """Permanent children come again, transient ones after a crash, temporary ones never."""
    child = stage.child("a", restart=restart)
    stage.running("top", child)
    first = stage.next_life("a")
    exits = stage.ready(first.actor_ref)
    stage.ask("a", how).wait()
    exits.get(timeout=PATIENCE)
    stage.barrier("top")
    assert (stage.directory.find("a") is not None) is again
    assert stage.directory.restarts == int(again)


def test_temporary_sibling_is_not_restarted_with_its_group(stage: Stage) -> None:
    """A temporary child that a group restart ends is gone for good, and the others come again."""
    children = [stage.child("a"), stage.child("t", restart=Restart.TEMPORARY), stage.child("c")]
    stage.running("top", *children, strategy=Strategy.ONE_FOR_ALL)
    stage.next_life("c")
    stage.ask("a", Crash()).wait()
    stage.next_life("c")
    stage.barrier("top")
    assert set(stage.states()) == {"top", "a", "c"}


def test_too_many_restarts_give_up(stage: Stage) -> None:
    """Beyond its intensity a supervisor ends its children and dies of GaveUp."""
    child = stage.child("a")
    _, exits = stage.running("top", child, stage.child("b"), intensity=Intensity(2, 30.0))
    for _ in range(3):
        stage.next_life("a")
        stage.settled("top", child)
        stage.ask("a", Crash()).wait()
    reason = exits.get(timeout=PATIENCE).reason
    assert isinstance(reason, GaveUp)
    assert "a ended once more: Crashed" in str(reason)
    assert stage.story[-1] == ("end", "b")
    assert set(stage.states()) == {"top"}


def test_old_restarts_do_not_count(stage: Stage) -> None:
    """Restarts further apart than the window go on for ever."""
    child = stage.child("a")
    stage.running("top", child, intensity=Intensity(1, 30.0))
    for _ in range(5):
        stage.next_life("a")
        stage.settled("top", child)
        stage.now += 31.0
        stage.ask("a", Crash()).wait()
    stage.next_life("a")
    assert stage.directory.restarts == 5


def test_giving_up_climbs_to_the_root(stage: Stage) -> None:
    """A supervisor that gave up is restarted by its parent, which gives up in its turn."""
    inner = stage.nested("inner", stage.child("a"), intensity=Intensity(0, 30.0))
    _, exits = stage.running("root", inner, intensity=Intensity(1, 30.0))
    for _ in range(2):
        stage.next_life("a")
        stage.settled("root", inner)
        stage.ask("a", Crash()).wait()
    assert isinstance(exits.get(timeout=PATIENCE).reason, GaveUp)
    assert set(stage.states()) == {"root"}


def test_fixed_child_that_cannot_begin_is_the_starters_to_hear(stage: Stage) -> None:
    """A refusal in the begin of a fixed child is what the starter of the supervisor hears; all is ended."""
    refuse = Script(begin=raise_(Refused(Code.PORT_IN_USE, "taken by nginx")))
    top = stage.supervise("top", stage.child("a"), stage.child("b", refuse))
    with pytest.raises(Refused, match="taken by nginx"):
        stage.ready(top)
    assert stage.story == [("begin", "a"), ("begin", "b"), ("end", "b"), ("end", "a")]


def test_restart_after_end(stage: Stage) -> None:
    """The next life begins when the former has given everything back, also after a begin that failed."""
    stage.running("top", stage.child("a", script := Script()), intensity=GENEROUS)
    stage.next_life("a")
    script.begin = first(*[raise_(ValueError("no begin"))] * 3)
    stage.ask("a", Crash()).wait()
    for _ in range(4):
        stage.next_life("a")
    stage.barrier("top")
    assert stage.story == [("begin", "a"), ("end", "a")] * 4 + [("begin", "a")]


def test_begin_that_never_ends_is_given_up(stage: Stage) -> None:
    """A fixed child that is not ready in time ends the start; its late begin changes nothing."""
    held = threading.Event()
    slow = Script(begin=lambda _: held.wait(PATIENCE) if stage.threads else asyncio.Event().wait())
    top = stage.supervise("top", stage.child("a"), stage.child("slow", slow, ready=0.05))
    with pytest.raises(Fault, match=r"slow did not answer within 0\.05 s"):
        stage.ready(top)
    held.set()
    assert stage.directory.is_fenced(stage.next_life("slow").actor_urn)


def test_end_that_never_ends_is_given_up(stage: Stage) -> None:
    """A stop goes on past a child that does not end in time."""
    held = threading.Event()
    stuck = Script(end=lambda _: held.wait(PATIENCE) if stage.threads else asyncio.Event().wait())
    children = [stage.child("a"), stage.child("stuck", stuck, shutdown=0.05), stage.child("c")]
    top, _ = stage.running("top", *children)
    top.stop()
    assert [name for what, name in stage.story if what == "end"] == ["c", "stuck", "a"]
    held.set()


def test_stop_past_the_abandoned_limit_ends_all_the_same(stage: Stage) -> None:
    """However many children hang, a stop reaches the first one."""
    held = threading.Event()
    stuck = Script(end=lambda _: held.wait(PATIENCE) if stage.threads else asyncio.Event().wait())
    children = [stage.child(f"stuck{i}", stuck, shutdown=0.02) for i in range(5)]
    top, exits = stage.running("top", stage.child("a"), *children)
    top.stop()
    assert stage.story[-1] == ("end", "a")
    assert exits.get(timeout=PATIENCE).reason is None
    held.set()


def test_old_news_is_ignored(stage: Stage) -> None:
    """Exit and Began of a former incarnation, or of nobody, change nothing."""
    child = stage.child("a")
    top, _ = stage.running("top", child)
    former = stage.ref("a").actor_urn
    stage.next_life("a")
    stage.ask("a", Crash()).wait()
    stage.next_life("a")
    stage.settled("top", child)
    present = stage.ref("a").actor_urn
    for news in (
        Exit(former, "a", ValueError()),
        Began(former, "a", ValueError()),
        Exit("x", "nobody", None),
    ):
        top.tell(news)
    stage.barrier("top")
    assert stage.ref("a").actor_urn == present
    assert stage.directory.restarts == 1
