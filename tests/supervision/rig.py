"""Actors that do as they are told, on either runtime, and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pykka import ActorRef

from moorage.supervision.actor import ThreadActor
from moorage.supervision.child import Child
from moorage.supervision.directory import Address, Directory, ask
from moorage.supervision.loop import EventLoop, LoopActor
from moorage.supervision.messages import Exit, Halt, Start, Tick, Watch
from moorage.supervision.policy import Restart
from moorage.supervision.reply import Reply
from moorage.supervision.supervisor import LoopSupervisor, ThreadSupervisor

PATIENCE = 20.0
"""Seconds until a test that waits has failed."""

Deed = Callable[[Any], Any]


def nothing(_actor: Any) -> None:
    return None


def raise_(error: BaseException) -> Deed:
    """A deed that raises."""

    def deed(_actor: Any) -> None:
        raise error

    return deed


def first(*deeds: Deed) -> Deed:
    """A deed that is another each time, and nothing in the end."""
    left = iter(deeds)

    def deed(actor: Any) -> Any:
        return next(left, nothing)(actor)

    return deed


@dataclass
class Script:
    """What a worker does at its begin and end; a deed may be a coroutine function."""

    begin: Deed = nothing
    end: Deed = nothing


@dataclass(frozen=True)
class Do:
    """Do this and answer with what it gives."""

    deed: Deed


@dataclass(frozen=True)
class Many:
    """A message that is handled in batches."""

    value: Any


class Work:
    """The part of a worker that has no runtime."""

    batched = (Many,)
    stage: Stage
    script: Script
    name: str

    async def begin(self) -> None:
        self.stage.story.append(("begin", self.name))
        self.stage.begun[self.name].put(self)
        await done(self.script.begin(self))

    async def end(self) -> None:
        self.stage.story.append(("end", self.name))
        await done(self.script.end(self))

    async def receive(self, message: Any) -> Any:
        return await done(message.deed(self)) if isinstance(message, Do) else message

    async def receive_batch(self, messages: list[Any]) -> list[Any]:
        self.stage.story.append(("batch", len(messages)))
        if callable(messages[-1].value):
            return messages[-1].value(messages)
        return [each.value for each in messages]


async def done(result: Any) -> Any:
    return await result if inspect.isawaitable(result) else result


class ThreadWorker(Work, ThreadActor):
    def __init__(self, stage: Stage, name: str, script: Script) -> None:
        super().__init__(stage.directory, name)
        self.stage, self.script = stage, script


class LoopWorker(Work, LoopActor):
    def __init__(self, stage: Stage, name: str, script: Script) -> None:
        super().__init__(stage.directory, name, stage.events)
        self.stage, self.script = stage, script


@dataclass
class Stage:
    """Everything of one test: the runtime, the names, the clock, and what happened."""

    threads: bool
    directory: Directory
    events: EventLoop
    now: float = 0.0
    story: list[tuple[str, Any]] = field(default_factory=list)
    begun: defaultdict[str, queue.Queue[Any]] = field(default_factory=lambda: defaultdict(queue.Queue))

    def start(self, name: str, script: Script | None = None) -> ActorRef[Any]:
        """A worker, not yet known to be ready."""
        kind = ThreadWorker if self.threads else LoopWorker
        return kind.start(self, name, script or Script())

    def child(
        self, name: str, script: Script | None = None, restart: Restart = Restart.PERMANENT, **kw: Any
    ) -> Child:
        return Child(name, partial(self.start, name, script), restart, **kw)

    def supervise(self, name: str, *children: Child, **options: Any) -> ActorRef[Any]:
        """A supervisor, not yet known to be ready."""
        options.setdefault("clock", lambda: self.now)
        if self.threads:
            ref = ThreadSupervisor.start(self.directory, name, children=children, **options)
        else:
            ref = LoopSupervisor.start(self.directory, name, self.events, children=children, **options)
        if self.directory.find(name) is None:
            self.directory.enter(name, ref, None, "supervisor")
        return ref

    def nested(
        self, name: str, *children: Child, restart: Restart = Restart.PERMANENT, **options: Any
    ) -> Child:
        """The spec of a supervisor below another."""
        start = partial(self.supervise_below, name, *children, **options)
        return Child(name, start, restart, kind="supervisor", patience=options.pop("patience", 30.0))

    def supervise_below(self, name: str, *children: Child, **options: Any) -> ActorRef[Any]:
        options.setdefault("clock", lambda: self.now)
        if self.threads:
            return ThreadSupervisor.start(self.directory, name, children=children, **options)
        return LoopSupervisor.start(self.directory, name, self.events, children=children, **options)

    def ready(self, ref: ActorRef[Any]) -> queue.Queue[Exit]:
        """Wait until it is ready; gives where its Exit will be."""
        exits: queue.Queue[Exit] = queue.Queue()
        ask(ref, Watch(exits.put), PATIENCE, "the actor under test").wait()
        return exits

    def running(self, name: str, *children: Child, **options: Any) -> tuple[ActorRef[Any], queue.Queue[Exit]]:
        """A supervisor that is ready, and where its Exit will be."""
        ref = self.supervise(name, *children, **options)
        return ref, self.ready(ref)

    def ask(self, name: str, message: Any, deadline: float | None = PATIENCE) -> Reply:
        return Address(self.directory, name).ask(message, deadline)

    def do(self, name: str, deed: Deed) -> Any:
        return self.ask(name, Do(deed)).wait()

    def tell(self, name: str, message: Any) -> None:
        Address(self.directory, name).tell(message)

    def next_life(self, name: str) -> Any:
        """Wait until a worker of that name begins; gives the worker."""
        return self.begun[name].get(timeout=PATIENCE)

    def barrier(self, name: str) -> None:
        """Wait until that supervisor has handled all that it was sent."""
        assert self.ask(name, Halt("nobody of that name")).wait() is False

    def settled(self, supervisor: str, child: Child) -> None:
        """Wait until a child whose life has begun is ready in the eyes of its supervisor."""
        self.ask(supervisor, Start(child)).wait()

    def tick(self, name: str, seconds: float = 0.0) -> None:
        """Turn the clock and let the supervisor look after its children."""
        self.now += seconds
        self.tell(name, Tick())
        self.barrier(name)

    def states(self) -> dict[str, str]:
        return {each.name: each.state for each in self.directory.entries()}

    def ref(self, name: str) -> ActorRef[Any]:
        found = self.directory.find(name)
        assert found is not None, f"{name} is not there"
        return found


class Gate:
    """Holds an actor in its begin or end, on either runtime, until it is opened."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.entered = threading.Event()
        self._open = threading.Event()
        self._waiter: asyncio.Future[None] | None = None

    def __call__(self, _actor: Any) -> Any:
        self.entered.set()
        return self._open.wait(PATIENCE) if self.stage.threads else self._hold()

    async def _hold(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        if not self._open.is_set():
            await self._waiter

    def wait(self) -> None:
        assert self.entered.wait(PATIENCE)

    def open(self) -> None:
        self._open.set()
        self.stage.events.loop.call_soon_threadsafe(self._release)

    def _release(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def enter(stage: Stage, name: str, script: Script | None = None) -> Any:
    """An actor without a supervisor, ready."""
    ref = stage.start(name, script)
    stage.directory.enter(name, ref, None, "worker")
    return ref


def hold(stage: Stage, name: str) -> Gate:
    """Keep an actor busy, so that messages gather."""
    gate = Gate(stage)
    stage.tell(name, Do(gate))
    gate.wait()
    return gate
