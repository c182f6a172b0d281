"""The life of an actor: pykka's, with four rules that pykka leaves open.

A bug kills, also under `ask`, and a refusal does not. There is one Exit per life, when it is really over.
The inbox closes, so that what comes late is answered. Actors know each other by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pykka
from pykka import ActorRegistry
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from moorage.errors import Fault, MoorageError
from moorage.log import Log
from moorage.supervision.directory import Address, Directory
from moorage.supervision.ending import Ending, describe
from moorage.supervision.inbox import Inbox, ThreadInbox, no_orphans
from moorage.supervision.messages import Bereft, Crash, Exit, Ping, Pong, Stop, Watch
from moorage.supervision.reply import Reply, respond, together

DEFERRED = object()
"""Returned by `receive` when the answer will be given later to the reply that `defer` gave."""

BATCH = 256
"""How many messages a batch holds at most: beyond it a commit or a transaction gains nothing."""

CONTROL = frozenset({Watch, Ping, Stop, Crash, Bereft, _ActorStop})
"""Messages that every actor handles alike."""


class Crashed(Exception):
    """An actor was told to crash."""


class LostHelper(Exception):
    """A thread that worked for an actor died, and the actor with it."""


class Actor(pykka.Actor):
    """What thread actors and loop actors have in common: everything but who runs them."""

    role: ClassVar[str] = ""
    """What its name begins with, up to the colon; empty for a class that only others derive from."""

    asks: ClassVar[frozenset[str]] = frozenset()
    """The roles that this class asks; `address` refuses others."""

    batched: ClassVar[tuple[type, ...]] = ()
    """Messages handled many at a time, by `receive_batch`."""

    actor_inbox: Inbox

    def __init__(self, directory: Directory, name: str) -> None:
        """Take a name in a directory; nothing runs yet."""
        super().__init__()
        self.directory = directory
        self.name = name
        self._ending = Ending(name)
        self._watchers: list[Callable[[Exit], None]] = []
        self._deferred: set[Reply] = set()
        self._reason: BaseException | None = None
        self._done = False
        self.actor_inbox.late = self._ending.late
        self.actor_inbox.abandon = self._abandon

    @property
    def log(self) -> Any:
        """A logger that names the actor."""
        return Log(actor=self.name)

    # -- for subclasses

    async def begin(self) -> None:
        """Take what the actor needs. An error here is the answer to whoever started it."""

    async def receive(self, message: Any) -> Any:
        """Handle one message and return its answer."""
        raise NotImplementedError(f"{self.name} does not take {message!r}")

    async def receive_batch(self, messages: list[Any]) -> list[Any]:
        """Handle messages of a `batched` kind: an answer each, in order, a refusal as an exception."""
        raise NotImplementedError(f"{self.name} does not take {messages!r}")

    async def end(self) -> None:
        """Give everything back. Called once, however the life ended, also after a `begin` that failed."""

    def address(self, name: str) -> Address:
        """Where to send to `name`, which must be of a role in `asks`; void once this actor is given up."""
        if name.partition(":")[0] not in self.asks:
            raise ValueError(f"{type(self).__name__} does not declare that it asks {name}")
        return Address(self.directory, name, self.actor_urn)

    def defer(self) -> Reply:
        """The reply of the message under way, to be answered later; `receive` then returns DEFERRED."""
        under_way = self.actor_inbox.under_way
        reply = under_way[0].reply_to if under_way else None
        if not isinstance(reply, Reply):
            return Reply()
        self._deferred.add(reply)
        reply.when_answered(self._deferred.discard)
        return reply

    def lose(self, reason: BaseException) -> None:
        """A thread that works for this actor died of `reason`: this life ends with it. From any thread."""
        if not self.actor_stopped.is_set():
            self.actor_inbox.put_first(Envelope(Bereft(reason)))

    @property
    def has_work(self) -> bool:
        """Whether messages wait that `receive` or `receive_batch` will be given."""
        return self.actor_inbox.waits(CONTROL)

    def check_valid(self) -> None:
        """Raise Fault when this life was given up: another has its place, and it shall change nothing any more."""
        if self.directory.is_fenced(self.actor_urn):
            raise Fault(f"{self.name} was given up, and another is in its place")

    def finish(self) -> None:
        """End this life, without a fault, after the message under way."""
        self._done = True

    # -- the life

    @staticmethod
    def _create_future() -> Reply:
        return Reply()

    def _start_actor_loop(self) -> None:
        try:
            self._start_life()
        except BaseException as error:
            self._retire()
            self._tell_over(error)
            raise

    def _start_life(self) -> None:
        """Let the runtime run `_live`."""
        raise NotImplementedError

    async def _live(self) -> None:
        try:
            await self.begin()
            await self._serve()
        except BaseException as error:  # noqa: BLE001 - whatever it dies of, its supervisor hears of it
            self._reason = error
        await self._finish()

    async def _serve(self) -> None:
        inbox = self.actor_inbox
        while not self._done:
            envelope = await inbox.take()
            if type(envelope.message) in CONTROL:
                self._control(envelope)
            elif isinstance(envelope.message, self.batched):
                await self._handle_batch(inbox.take_more(self.batched, BATCH))
            else:
                await self._handle(envelope)

    def _control(self, envelope: Envelope[Any]) -> None:
        match envelope.message:
            case Watch(hear):
                self._watchers.append(hear)
                respond(envelope, self.actor_urn)
            case Ping(hear):
                hear(Pong(self.actor_urn, self.name))
            case Crash():
                respond(envelope, None)
                raise Crashed(f"{self.name} was told to crash")
            case Bereft(reason):
                raise LostHelper(f"a thread of {self.name} died of {describe(reason)}") from reason
            case _:
                self._done = True
                self._ending.late(envelope)

    async def _handle(self, envelope: Envelope[Any]) -> None:
        try:
            answer = await self.receive(envelope.message)
        except MoorageError as error:
            respond(envelope, error)
        except BaseException as bug:
            respond(envelope, self._fault(bug))
            raise
        else:
            if answer is not DEFERRED:
                respond(envelope, answer)

    async def _handle_batch(self, envelopes: list[Envelope[Any]]) -> None:
        try:
            answers = await self.receive_batch([each.message for each in envelopes])
            if len(answers) != len(envelopes):
                raise ValueError(f"{self.name} gave {len(answers)} answers to {len(envelopes)} messages")
        except MoorageError as error:
            answers = [error] * len(envelopes)
        except BaseException as bug:
            for envelope in envelopes:
                respond(envelope, self._fault(bug))
            raise
        with together():
            for envelope, answer in zip(envelopes, answers, strict=True):
                respond(envelope, answer)

    def _fault(self, bug: BaseException) -> Fault:
        fault = Fault(f"{self.name} died of {describe(bug)}")
        fault.__cause__ = bug
        return fault

    # -- the end

    async def _finish(self) -> None:
        try:
            try:
                self._retire()
            finally:
                await self.end()
        except BaseException as error:  # noqa: BLE001 - an end that fails is a death like any other
            self._reason = self._reason or error
        reason, self._reason = self._reason, None  # its traceback holds this actor
        try:
            self._mourn(reason)
        finally:
            self._tell_over(reason)

    def _retire(self) -> list[Envelope[Any]]:
        ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        return self.actor_inbox.close()

    def _mourn(self, reason: BaseException | None) -> None:
        if reason is not None and not isinstance(reason, MoorageError):
            trace = None if isinstance(reason, Crashed) else reason
            self.log.error("actor_died", reason=describe(reason), exc_info=trace)

    def _tell_over(self, reason: BaseException | None) -> None:
        self.actor_inbox.abandon = no_orphans
        self._fail_deferred(Fault(f"{self.name} ended before it answered: the outcome is unknown"))
        self._ending.over(reason)
        self.directory.over(self.actor_urn)
        watchers, self._watchers = self._watchers, []
        for hear in watchers:
            hear(Exit(self.actor_urn, self.name, reason))

    def _fail_deferred(self, fault: Fault) -> None:
        for reply in list(self._deferred):
            reply.fail(fault)

    def _abandon(self) -> list[Reply]:
        """Give up on a life that hangs: no more messages, no more rights. From the supervisor's thread."""
        self.directory.fence(self.actor_urn, hangs=True)
        if self._ending.is_over:
            self.directory.over(self.actor_urn)
        self._done = True
        under_way = self._retire()
        fault = self._ending.hang()
        for envelope in under_way:
            respond(envelope, fault)
        self._fail_deferred(fault)
        return []


class ThreadActor(Actor, pykka.ThreadingActor):
    """An actor with a thread of its own, which may block."""

    use_daemon_thread = True

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return ThreadInbox()

    def _start_life(self) -> None:
        threading.Thread(target=self._actor_loop, name=self.name, daemon=self.use_daemon_thread).start()

    def _actor_loop(self) -> None:
        drive(self._live())


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in this thread, where awaiting a Reply blocks; anything else to await is a mistake."""
    try:
        coroutine.send(None)
        while True:
            coroutine.throw(RuntimeError("a thread actor can await replies only"))
    except StopIteration as result:
        return result.value
