"""Supervisors: actors whose work is to start, watch, restart and stop other actors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pykka import ActorRef
from pykka._envelope import Envelope

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.supervision.actor import DEFERRED, Actor, ThreadActor
from moorage.supervision.child import Child
from moorage.supervision.directory import Directory, ask
from moorage.supervision.loop import EventLoop, LoopActor
from moorage.supervision.messages import Began, Ended, Exit, Halt, Ping, Pong, Start, Stop, Tick, Watch
from moorage.supervision.policy import Intensity, RestartCounter, Strategy
from moorage.supervision.reply import Reply, Unanswered

ABANDONED_LIMIT = 3
"""Given-up lives, each perhaps a thread that hangs for ever, after which only a new process helps."""


class GaveUp(Exception):  # noqa: N818 - the word of the trade
    """A supervisor restarted more often than its intensity allows, and leaves the decision to its parent."""


@dataclass(slots=True)
class Running:
    """One child, in one incarnation."""

    child: Child
    ref: ActorRef[Any]
    state: Literal["starting", "running", "stopping", "halted"]
    since: float
    fresh: bool
    """Started on somebody's request and never ready yet: a failure is theirs to hear, not ours to retry."""
    pinged: float | None = None
    waiting: list[Reply] = field(default_factory=list)

    @property
    def urn(self) -> str:
        return self.ref.actor_urn


async def no_children() -> Iterable[Child]:
    """What a supervisor that begins with fixed children restores."""
    return ()


class Supervisor(Actor):
    """Restarts its children by a strategy, within an intensity; beyond it, dies and leaves it to its parent.

    `children` are there from the beginning and are started in order, each ready before the next.
    `restore` gives more, found anew at each start of the supervisor, and started side by side; so are
    those that arrive by `Start`. Both are for one_for_one.
    """

    def __init__(
        self,
        directory: Directory,
        name: str,
        *place: EventLoop,
        children: Iterable[Child] = (),
        restore: Callable[[], Awaitable[Iterable[Child]]] = no_children,
        strategy: Strategy = Strategy.ONE_FOR_ONE,
        intensity: Intensity = Intensity(),  # noqa: B008 - frozen
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the specs; `begin` starts the children. `place` is the loop of a LoopSupervisor."""
        super().__init__(directory, name, *place)
        self._specs = {child.name: child for child in children}
        self._restore = restore
        self._strategy = strategy
        self._restarts = RestartCounter(intensity)
        self._clock = clock
        self._running: dict[str, Running] = {}

    async def begin(self) -> None:
        """Start the children in order, then the restored ones side by side."""
        for child in self._specs.values():
            await self._launch(child)
        for reply in [self._begin(child, fresh=False) for child in await self._restore()]:
            with suppress(MoorageError):
                await reply  # a failure comes again as `Began`, and is handled like any other

    async def end(self) -> None:
        """Stop all children, the last one first, and let nobody wait."""
        for running in self._running.values():
            self._answer(running, Refused(Code.UNAVAILABLE, f"{self.name} is stopping: try again"))
        await self._halt(list(self._running))

    async def receive(self, message: Any) -> Any:
        """Take news of children, and orders to start or halt one."""
        match message:
            case Began():
                await self._began(message)
            case Exit(urn, name, reason):
                if (running := self._incarnation(name, urn)) is not None:
                    await self._exited(running, reason)
            case Ended(urn, name):
                self._ended(name, urn)
            case Pong(urn, name):
                if (running := self._incarnation(name, urn)) is not None:
                    running.pinged = None
            case Start(child):
                return self._start_dynamic(child)
            case Halt(name):
                return self._halt_dynamic(name)
            case Tick():
                await self._look_after()
            case _:
                return await super().receive(message)
        return None

    # -- starting

    def _begin(self, child: Child, *, fresh: bool) -> Reply:
        """Start one life; the reply comes when it is ready, and `Began` is told to us."""
        ref = child.start()
        self._running[child.name] = Running(child, ref, "starting", self._clock(), fresh)
        self.directory.enter(child.name, ref, self.name, child.kind)
        reply = ask(ref, Watch(self._hear), child.ready, child.name)
        reply.when_answered(lambda r: self._hear(Began(ref.actor_urn, child.name, r.error())))
        return reply

    async def _launch(self, child: Child) -> None:
        """Start one life and wait until it is ready."""
        reply = self._begin(child, fresh=False)
        running = self._running[child.name]
        try:
            await reply
        except Unanswered:
            self._give_up(running)
            raise
        except BaseException:
            self._forget(running)
            raise
        self._ready(running)

    async def _began(self, message: Began) -> None:
        running = self._incarnation(message.name, message.urn)
        if running is None or running.state != "starting":
            return
        if message.error is None:
            self._ready(running)
        elif running.fresh:
            self._forget(running)
            self._answer(running, message.error)
        else:
            await self._died(running, message.error)

    def _ready(self, running: Running) -> None:
        running.state = "running"
        running.fresh = False
        self.directory.mark(running.child.name, "running")
        self._answer(running, True)

    def _start_dynamic(self, child: Child) -> Any:
        running = self._running.get(child.name)
        if running is None:
            self._begin(child, fresh=True)
            running = self._running[child.name]
        elif running.state == "running":
            return False
        elif running.state == "stopping":
            raise Refused(Code.UNAVAILABLE, f"{child.name} is stopping: try again")
        running.waiting.append(self.defer())
        return DEFERRED

    # -- ending

    async def _exited(self, running: Running, reason: BaseException | None) -> None:
        if running.state == "stopping":
            self._ended(running.child.name, running.urn)
        else:
            await self._died(running, reason)

    async def _died(self, running: Running, reason: BaseException | None) -> None:
        name = running.child.name
        if not running.child.restart.wants(crashed=reason is not None):
            self._forget(running)
            self._answer(running, Refused(Code.UNAVAILABLE, f"{name} ended: try again"))
            return
        if not self._restarts.allow(self._clock()):
            raise GaveUp(f"{self.name} gave up: {name} ended once more: {reason!r}") from reason
        self.log.warning("actor_restarted", child=name, reason=repr(reason))
        self.directory.restarting(name, repr(reason))
        await self._restart(running)

    async def _restart(self, running: Running) -> None:
        names = self._strategy.affected(list(self._running), running.child.name)
        if self._strategy is Strategy.ONE_FOR_ONE:
            waiting = running.waiting
            self._begin(running.child, fresh=False)
            self._running[running.child.name].waiting = waiting
            return
        specs = [self._running[name].child for name in names]
        await self._halt([name for name in names if name != running.child.name], forget=False)
        for spec in specs:
            self._begin(spec, fresh=False)
            if not await self._is_ready(spec):
                return  # `Began` with the error waits in our mailbox, and a shutdown may get in between

    async def _is_ready(self, spec: Child) -> bool:
        running = self._running[spec.name]
        try:
            await ask(running.ref, Watch(_unheard), spec.ready, spec.name)
        except MoorageError:
            return False
        return True

    def _halt_dynamic(self, name: str) -> Any:
        running = self._running.get(name)
        if running is None:
            return False
        if running.state != "stopping":
            self._ask_to_stop(running).when_answered(lambda _: self._hear(Ended(running.urn, name)))
        running.waiting.append(self.defer())
        return DEFERRED

    def _ask_to_stop(self, running: Running) -> Reply:
        running.state = "stopping"
        running.since = self._clock()
        self.directory.mark(running.child.name, "stopping")
        reply = Reply(running.child.name, running.child.shutdown)
        running.ref.actor_inbox.put_first(Envelope(Stop(), reply_to=reply))  # type: ignore[attr-defined]  # ours
        return reply

    def _ended(self, name: str, urn: str) -> None:
        if (running := self._incarnation(name, urn)) is not None:
            self._forget(running)
            self._answer(running, True)

    async def _halt(self, names: list[str], *, forget: bool = True) -> None:
        """Stop these, the last one first; fixed ones one after the other, all others side by side."""
        stopping: list[tuple[Running, Reply]] = []
        for name in reversed(names):
            running = self._running[name]
            stopping.append((running, self._ask_to_stop(running)))
            if name in self._specs:
                await self._await_stops(stopping, forget=forget)
        await self._await_stops(stopping, forget=forget)

    async def _await_stops(self, stopping: list[tuple[Running, Reply]], *, forget: bool) -> None:
        for running, reply in stopping:
            try:
                await reply
            except Unanswered:
                self._give_up(running)
            running.state = "halted"
            if forget:
                self._forget(running)
        stopping.clear()

    # -- looking after

    async def _look_after(self) -> None:
        now = self._clock()
        for running in list(self._running.values()):
            if (why := self._hangs(running, now)) is not None:
                await self._replace(running, why)
            elif running.child.kind == "supervisor":
                running.ref.actor_inbox.put(Envelope(Tick()))

    def _hangs(self, running: Running, now: float) -> str | None:
        child = running.child
        if running.state == "halted":
            return None
        if running.state == "starting":
            return "was not ready in time" if now - running.since > child.ready else None
        if running.state == "stopping":
            return "did not stop in time" if now - running.since > child.shutdown else None
        waited = 0.0 if running.pinged is None else now - running.pinged
        if child.patience is not None and waited > child.patience:
            return f"did not answer for {child.patience} s"
        self._ping(running, now)
        return None

    def _ping(self, running: Running, now: float) -> None:
        """Only who has work can hang in it."""
        inbox: Any = running.ref.actor_inbox
        if running.pinged is None and (inbox.busy or not inbox.empty()):
            running.pinged = now
            inbox.put(Envelope(Ping(self._hear)))

    async def _replace(self, running: Running, why: str) -> None:
        """Give up on a child that hangs, and start another in its place unless it was to stop."""
        self._give_up(running)
        error = Fault(f"{running.child.name} {why}")
        if running.state == "stopping":
            self._ended(running.child.name, running.urn)
        elif running.fresh:
            self._forget(running)
            self._answer(running, error)
        else:
            await self._died(running, error)

    def _give_up(self, running: Running) -> None:
        """Python cannot end a thread: fence it, count it, and beyond a few leave it to a new process."""
        self.log.error("actor_abandoned", child=running.child.name)
        running.ref.actor_inbox.abandon()  # type: ignore[attr-defined]  # ours
        if self.directory.abandoned > ABANDONED_LIMIT:
            raise GaveUp(f"{self.directory.abandoned} actors hang, {running.child.name} the last")

    # -- book-keeping

    def _incarnation(self, name: str, urn: str) -> Running | None:
        """The child, unless the news is of a former life."""
        running = self._running.get(name)
        return running if running is not None and running.urn == urn else None

    def _forget(self, running: Running) -> None:
        if self._running.get(running.child.name) is running:
            del self._running[running.child.name]
        self.directory.leave(running.child.name, running.urn)

    def _answer(self, running: Running, answer: bool | BaseException) -> None:
        waiting, running.waiting = running.waiting, []
        for reply in waiting:
            if isinstance(answer, BaseException):
                reply.fail(answer)
            else:
                reply.set(answer)

    def _hear(self, news: Any) -> None:
        """Called by children, in their threads."""
        self.actor_inbox.put(Envelope(news))


def _unheard(_exit: Exit) -> None:
    return None


class ThreadSupervisor(Supervisor, ThreadActor):
    """A supervisor with a thread of its own, which may wait for its children's threads."""


class LoopSupervisor(Supervisor, LoopActor):
    """A supervisor on the event loop, for children that live there in their thousands."""
