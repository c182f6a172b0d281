"""The book of a supervisor's children: who runs, in which incarnation, and who waits for whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from pykka import ActorRef, ActorRegistry
from pykka._envelope import Envelope

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.supervision.child import Child
from moorage.supervision.directory import Directory
from moorage.supervision.ending import describe
from moorage.supervision.inbox import Inbox
from moorage.supervision.messages import Began, Ended, Ping, Stop, Watch
from moorage.supervision.reply import Reply, Unanswered


@dataclass(slots=True, eq=False)
class Running:
    """One child through all its incarnations; `over` between two of them."""

    child: Child
    fresh: bool
    """Started on somebody's request and never ready yet: a failure is theirs to hear, not ours to retry."""
    state: Literal["starting", "running", "stopping", "over"] = "over"
    ref: ActorRef[Any] | None = None
    since: float = 0.0
    readiness: Reply = field(init=False)
    pinged: float | None = None
    starters: list[Reply] = field(default_factory=list)
    halters: list[Reply] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The child's name."""
        return self.child.name

    @property
    def urn(self) -> str:
        """The present incarnation; empty when not even a thread could be had for it."""
        return "" if self.ref is None else self.ref.actor_urn

    @property
    def inbox(self) -> Inbox | None:
        """The present incarnation's mailbox."""
        inbox = None if self.ref is None else self.ref.actor_inbox
        return inbox if isinstance(inbox, Inbox) else None


class Children:
    """Starts, stops and asks after single lives, and keeps who waits for them; it decides nothing."""

    def __init__(
        self, directory: Directory, parent: str, supervisor: ActorRef[Any], clock: Callable[[], float]
    ) -> None:
        """Enter children of the name `parent` into `directory`; their news goes to `supervisor`."""
        self._directory = directory
        self._parent = parent
        self._supervisor = supervisor
        self._clock = clock
        self._running: dict[str, Running] = {}

    def __iter__(self) -> Iterator[Running]:
        """Go over all, in the order of their first start, whatever changes meanwhile."""
        return iter(list(self._running.values()))

    def find(self, name: str) -> Running | None:
        """The child of that name."""
        return self._running.get(name)

    def incarnation(self, name: str, urn: str) -> Running | None:
        """The child, unless the news is of a former life or of one that is over."""
        running = self._running.get(name)
        return running if running is not None and running.urn == urn and running.state != "over" else None

    # -- lives

    def add(self, child: Child, *, fresh: bool) -> Running:
        """Enter a new child and begin its first life."""
        running = self._running[child.name] = Running(child, fresh)
        self.begin(running)
        return running

    def begin(self, running: Running) -> None:
        """Begin a life. `readiness` is answered, and `Began` is heard, when it is ready or has failed."""
        if self._directory.is_fenced(self._supervisor.actor_urn):
            raise Fault(f"{self._parent} was given up: it starts nobody any more")
        child = running.child
        running.state, running.since, running.pinged = "starting", self._clock(), None
        running.readiness = Reply(child.name, child.ready)
        try:
            running.ref = child.start()
        except Exception as error:  # noqa: BLE001 - nothing runs yet; the failure is heard like one of `begin`
            self._directory.leave(child.name, running.urn)
            running.ref = None
            running.readiness.fail(_stillborn(child.name, error))
        else:
            # a child ends with its supervisor: pykka's stop_all shall not take it away beneath
            ActorRegistry.unregister(running.ref)
            self._directory.enter(child.name, running.ref, self._parent, child.kind)
        self._watch(running)

    def _watch(self, running: Running) -> None:
        name, urn = running.name, running.urn
        running.readiness.when_answered(lambda reply: self._hear(Began(urn, name, reply.error())))
        if running.inbox is not None:
            running.inbox.put(Envelope(Watch(self._hear), reply_to=running.readiness))

    def ready(self, running: Running) -> None:
        """The life that began is ready."""
        running.state, running.fresh = "running", False
        self._directory.mark(running.name, "running", running.urn)
        _answer(running.starters, True)

    def stop(self, running: Running) -> Reply:
        """Ask a life to end after the message under way; answered, also by `Ended`, when it is over."""
        name, urn = running.name, running.urn
        running.state, running.since = "stopping", self._clock()
        self._directory.mark(name, "stopping", urn)
        reply = Reply(name, running.child.shutdown)
        reply.when_answered(lambda _: self._hear(Ended(urn, name)))
        if running.inbox is None:
            reply.set(True)
        else:
            running.inbox.put_first(Envelope(Stop(), reply_to=reply))
        return reply

    async def give_up(self, running: Running) -> None:
        """Leave a life that hangs to itself, void; those that it supervised are stopped first."""
        running.state = "over"
        orphans = [] if running.inbox is None else running.inbox.abandon()
        for orphan in orphans:
            with suppress(Unanswered):
                await orphan

    def orphan(self) -> list[Reply]:
        """Stop all, void, for a supervisor that is given up itself. From its own supervisor's thread."""
        ends = []
        for running in self:
            if running.inbox is not None:
                self._directory.fence(running.urn, hangs=False)
                ends.append(Reply(running.name, running.child.shutdown))
                running.inbox.put_first(Envelope(Stop(), reply_to=ends[-1]))
        return ends

    def forget(self, running: Running, why: BaseException | None = None) -> None:
        """Strike out a child; whoever waited for its start hears `why` it is not there."""
        if self._running.get(running.name) is running:
            del self._running[running.name]
        self._directory.leave(running.name, running.urn)
        self.refuse_starters(running, why)
        _answer(running.halters, True)

    def refuse_starters(self, running: Running, why: BaseException | None = None) -> None:
        """Whoever waits for the start waits in vain."""
        gone = Refused(Code.UNAVAILABLE, f"{running.name} was stopped before it was ready: try again")
        _answer(running.starters, why or gone)

    # -- looking after

    def hangs(self, running: Running, now: float) -> str | None:
        """What a life did not do in its time, if so."""
        child = running.child
        waited = now - running.since
        match running.state:
            case "starting":
                return "was not ready in time" if waited > child.ready else None
            case "stopping":
                return "did not stop in time" if waited > child.shutdown else None
            case "running":
                waited = 0.0 if running.pinged is None else now - running.pinged
                late = child.patience is not None and waited > child.patience
                return f"did not answer for {child.patience} s" if late else None
        return None

    def ping(self, running: Running, now: float) -> None:
        """Ask for a sign of life; only who has work can hang in it."""
        inbox = running.inbox
        if running.state == "running" and running.pinged is None and inbox is not None and inbox.busy:
            running.pinged = now
            inbox.put(Envelope(Ping(self._hear)))

    def _hear(self, news: Any) -> None:
        """Called by children, in their threads."""
        self._supervisor.actor_inbox.put(Envelope(news))


def _stillborn(name: str, error: Exception) -> MoorageError:
    if isinstance(error, MoorageError):
        return error
    fault = Fault(f"{name} could not be started: {describe(error)}")
    fault.__cause__ = error
    return fault


def _answer(replies: list[Reply], answer: Any) -> None:
    waiting = replies.copy()
    replies.clear()
    for reply in waiting:
        if isinstance(answer, BaseException):
            reply.fail(answer)
        else:
            reply.set(answer)
