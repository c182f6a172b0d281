"""Supervisors: actors whose work is to start, watch, restart and stop other actors."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any

from pykka._envelope import Envelope

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.supervision.actor import DEFERRED, Actor, ThreadActor
from moorage.supervision.child import Child
from moorage.supervision.children import Children, Running
from moorage.supervision.directory import Directory
from moorage.supervision.ending import describe
from moorage.supervision.loop import EventLoop, LoopActor
from moorage.supervision.messages import Began, Ended, Exit, Halt, Pong, Start, Tick
from moorage.supervision.policy import Intensity, Restart, RestartCounter, Strategy, is_hopeless
from moorage.supervision.reply import Reply, Unanswered

ABANDONED_LIMIT = 3
"""Given-up lives, each perhaps a thread that hangs for ever, after which only a new process helps."""


class GaveUp(Exception):
    """A supervisor restarted more often than its intensity allows, and leaves the decision to its parent."""


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
        self._children = Children(directory, name, self.actor_ref, clock)

    async def begin(self) -> None:
        """Start the children in order, then the restored ones side by side."""
        for child in self._specs.values():
            await self._launch(child)
        new = [child for child in await self._restore() if self._children.find(child.name) is None]
        for running in [self._children.add(child, fresh=False) for child in new]:
            with suppress(MoorageError):
                await running.readiness  # a failure comes again as `Began`, and is handled like any other

    async def end(self) -> None:
        """Stop all children, the last one first, and let nobody wait."""
        for running in self._children:
            self._children.refuse_starters(running)
        await self._bring_down(list(self._children))
        for running in self._children:
            self._children.forget(running)

    async def receive(self, message: Any) -> Any:
        """Take news of children, and orders to start or halt one."""
        match message:
            case Began(urn, name, error):
                await self._began(self._children.incarnation(name, urn), error)
            case Exit(urn, name, reason):
                await self._exited(self._children.incarnation(name, urn), reason)
            case Ended(urn, name):
                await self._exited(self._children.incarnation(name, urn), None)
            case Pong(urn, name):
                if (running := self._children.incarnation(name, urn)) is not None:
                    running.pinged = None
            case Start(child, first):
                return self._start(child, first)
            case Halt(name):
                return self._halt(name)
            case Tick():
                await self._look_after()
            case _:
                return await super().receive(message)
        return None

    # -- starting

    async def _launch(self, child: Child) -> None:
        """Start a fixed child and wait until it is ready."""
        running = self._children.add(child, fresh=False)
        try:
            await running.readiness
        except Unanswered:
            await self._give_up(running)
            raise
        except BaseException:
            running.state = "over"
            raise
        self._children.ready(running)

    async def _began(self, running: Running | None, error: BaseException | None) -> None:
        if running is None or running.state != "starting":
            return
        if error is None:
            self._children.ready(running)
        elif running.fresh:
            self._children.forget(running, error)
        else:
            await self._died(running, error)

    def _start(self, child: Child, first: Any) -> Any:
        running = self._children.find(child.name)
        if running is None:
            running = self._children.add(child, fresh=True)
        elif running.state == "stopping":
            raise Refused(Code.UNAVAILABLE, f"{child.name} is stopping: try again")
        elif running.state == "running" and first is None:
            return False
        if first is None or running.inbox is None:
            running.starters.append(self.defer())
        else:
            running.inbox.put(Envelope(first, reply_to=self.actor_inbox.under_way[0].reply_to))
        return DEFERRED

    # -- ending

    def _halt(self, name: str) -> Any:
        running = self._children.find(name)
        if running is None:
            return False
        if running.state != "stopping":
            self._children.stop(running)
        running.halters.append(self.defer())
        return DEFERRED

    async def _exited(self, running: Running | None, reason: BaseException | None) -> None:
        if running is None:
            return
        if running.state == "stopping":
            self._children.forget(running)
            await self._resume()
        else:
            await self._died(running, reason)

    async def _died(self, running: Running, reason: BaseException | None) -> None:
        running.state = "over"
        why = describe(reason)
        if not running.child.restart.wants(crashed=reason is not None):
            self._children.forget(running)
            return
        if is_hopeless(reason):
            self.directory.lose(running.name)
            raise GaveUp(f"{self.name} gave up: {running.name} cannot go on: {why}") from reason
        if not self._restarts.allow(self._clock()):
            raise GaveUp(f"{self.name} gave up: {running.name} ended once more: {why}") from reason
        self.log.warning("actor_restarted", child=running.name, reason=why)
        self.directory.restarting(running.name, why)
        await self._restart(running)

    async def _restart(self, running: Running) -> None:
        if self._strategy is Strategy.ONE_FOR_ONE:
            self._children.begin(running)
            return
        names = self._strategy.affected([each.name for each in self._children], running.name)
        await self._bring_down([each for each in self._children if each.name in names])
        self._check_abandoned(running)
        await self._resume()

    async def _resume(self) -> None:
        """Start what is over in order, each ready before the next; none is under one_for_one.

        When one is not ready, `Began` with its error waits in our mailbox, and a shutdown may get in between.
        """
        if self._strategy is Strategy.ONE_FOR_ONE:
            return
        for running in self._children:
            if running.state == "over":
                self._children.begin(running)
                try:
                    await running.readiness
                except MoorageError:
                    return

    async def _bring_down(self, affected: list[Running]) -> None:
        """Stop these, the last one first: fixed ones one after the other, all others side by side."""
        stopping: list[tuple[Running, Reply]] = []
        for running in reversed(affected):
            if running.state != "over":
                stopping.append((running, self._children.stop(running)))
            if running.name in self._specs:
                await self._await_stops(stopping)
        await self._await_stops(stopping)

    async def _await_stops(self, stopping: list[tuple[Running, Reply]]) -> None:
        for running, reply in stopping:
            try:
                await reply
            except Unanswered:
                await self._give_up(running)
            running.state = "over"
            if running.halters or running.child.restart is Restart.TEMPORARY:
                self._children.forget(running)
        stopping.clear()

    # -- looking after

    async def _look_after(self) -> None:
        now = self._clock()
        for running in self._children:
            if (why := self._children.hangs(running, now)) is not None:
                await self._replace(running, Fault(f"{running.name} {why}"))
                continue
            self._children.ping(running, now)
            if running.child.kind == "supervisor" and running.inbox is not None:
                running.inbox.put(Envelope(Tick()))

    async def _replace(self, running: Running, fault: Fault) -> None:
        """Give up on a child that hangs, and start another in its place unless it was to stop."""
        stopping = running.state == "stopping"
        await self._give_up(running)
        self._check_abandoned(running)
        if running.fresh or stopping:
            self._children.forget(running, fault)
            await self._resume()
        else:
            await self._died(running, fault)

    async def _give_up(self, running: Running) -> None:
        """Python cannot end a thread: fence it, count it, and beyond a few leave it to a new process."""
        self.log.error("actor_abandoned", child=running.name)
        await self._children.give_up(running)

    def _check_abandoned(self, last: Running) -> None:
        if self.directory.abandoned > ABANDONED_LIMIT:
            raise GaveUp(f"{self.name} gave up: {self.directory.abandoned} actors hang, {last.name} the last")

    def _abandon(self) -> list[Reply]:
        return [*super()._abandon(), *self._children.orphan()]


class ThreadSupervisor(Supervisor, ThreadActor):
    """A supervisor with a thread of its own, which may wait for its children's threads."""


class LoopSupervisor(Supervisor, LoopActor):
    """A supervisor on the event loop, for children that live there in their thousands."""
