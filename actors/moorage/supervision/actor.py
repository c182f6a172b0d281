"""The life of an actor: pykka's, with four rules that pykka leaves open.

A bug kills, also under `ask`, and a refusal does not. There is one Exit per life, when it is really over.
The inbox closes, so that what comes late is answered. Actors know each other by name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

import pykka
import structlog
from pykka import ActorRegistry
from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.supervision.directory import Address, Directory
from moorage.supervision.inbox import Inbox
from moorage.supervision.messages import Crash, Exit, Ping, Pong, Stop, Watch
from moorage.supervision.reply import Reply

DEFERRED = object()
"""Returned by `receive` when the answer will be given later to the reply that `defer` gave."""

BATCH = 256
"""How many messages a batch holds at most: beyond it a commit or a transaction gains nothing."""


class Crashed(Exception):  # noqa: N818 - it says what happened
    """An actor was told to crash."""


class Actor(pykka.Actor):
    """What thread actors and loop actors have in common: everything but who runs them."""

    asks: ClassVar[frozenset[str]] = frozenset()
    """The roles (names up to the colon) that this class asks; `address` refuses others."""

    batched: ClassVar[tuple[type, ...]] = ()
    """Messages handled many at a time, by `receive_batch`."""

    actor_inbox: Inbox

    def __init__(self, directory: Directory, name: str) -> None:
        """Take a name in a directory; nothing runs yet."""
        super().__init__()
        self.directory = directory
        self.name = name
        self.log = structlog.get_logger().bind(actor=name)
        self.actor_inbox.abandon = self._abandon
        self._watchers: list[Callable[[Exit], None]] = []
        self._stops: list[Reply] = []
        self._current: Envelope[Any] | None = None
        self._reason: BaseException | None = None
        self._done = False
        self._over = threading.Lock()
        self._is_over = False

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
        """Where to send to `name`, which must be of a role in `asks`."""
        if name.partition(":")[0] not in self.asks:
            raise ValueError(f"{type(self).__name__} does not declare that it asks {name}")
        return Address(self.directory, name)

    def defer(self) -> Reply:
        """The reply of the message under way, to be answered later; `receive` then returns DEFERRED."""
        reply = None if self._current is None else self._current.reply_to
        return reply if isinstance(reply, Reply) else Reply()

    def finish(self) -> None:
        """End this life, without a fault, after the message under way."""
        self._done = True

    # -- the life

    @staticmethod
    def _create_future() -> Reply:
        return Reply()

    async def _live(self) -> None:
        try:
            await self.begin()
            await self._serve()
        except BaseException as error:  # noqa: BLE001 - whatever it dies of, its supervisor hears of it
            self._reason = error
        await self._finish()

    async def _serve(self) -> None:
        while not self._done:
            envelope = await self.actor_inbox.take()
            message = envelope.message
            if isinstance(message, self.batched):
                await self._handle_batch([envelope, *self.actor_inbox.take_more(self.batched, BATCH - 1)])
            elif not self._control(envelope):
                await self._handle(envelope)

    def _control(self, envelope: Envelope[Any]) -> bool:
        match envelope.message:
            case Watch(hear):
                self._watchers.append(hear)
                _answer(envelope, self.actor_urn)
            case Ping(hear):
                hear(Pong(self.actor_urn, self.name))
            case Stop() | _ActorStop():
                self._done = True
                self._late(envelope)
            case Crash():
                _answer(envelope, None)
                raise Crashed(f"{self.name} was told to crash")
            case _:
                return False
        return True

    async def _handle(self, envelope: Envelope[Any]) -> None:
        self._current = envelope
        try:
            answer = await self.receive(envelope.message)
        except MoorageError as error:
            _answer(envelope, error)
        except BaseException as bug:
            _answer(envelope, self._fault(bug))
            raise
        else:
            if answer is not DEFERRED:
                _answer(envelope, answer)

    async def _handle_batch(self, envelopes: list[Envelope[Any]]) -> None:
        try:
            answers = await self.receive_batch([each.message for each in envelopes])
        except BaseException as bug:
            for envelope in envelopes:
                _answer(envelope, bug if isinstance(bug, MoorageError) else self._fault(bug))
            if isinstance(bug, MoorageError):
                return
            raise
        for envelope, answer in zip(envelopes, answers, strict=True):
            _answer(envelope, answer)

    def _fault(self, bug: BaseException) -> Fault:
        fault = Fault(f"{self.name} died of {type(bug).__name__}: {bug}")
        fault.__cause__ = bug
        return fault

    async def _finish(self) -> None:
        ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        self.actor_inbox.close(self._late)
        try:
            await self.end()
        except BaseException as error:  # noqa: BLE001 - an end that fails is a death like any other
            self._reason = self._reason or error
        self._report()

    def _report(self) -> None:
        if self._reason is not None and not isinstance(self._reason, MoorageError):
            trace = None if isinstance(self._reason, Crashed) else self._reason
            self.log.error("actor_died", reason=repr(self._reason), exc_info=trace)
        with self._over:
            self._is_over = True
        for stop in self._stops:
            stop.set(True)
        for hear in self._watchers:
            hear(Exit(self.actor_urn, self.name, self._reason))

    def _late(self, envelope: Envelope[Any]) -> None:
        reply = envelope.reply_to
        if reply is None:
            return
        match envelope.message:
            case Stop() | _ActorStop():
                self._answer_when_over(reply)
            case Watch():
                _answer(envelope, self._death())
            case _:
                text = f"{self.name} ended before it could answer: nothing was done, try again"
                _answer(envelope, Refused(Code.UNAVAILABLE, text))

    def _answer_when_over(self, reply: Any) -> None:
        with self._over:
            if not self._is_over:
                self._stops.append(reply)
                return
        reply.set(True)

    def _death(self) -> MoorageError:
        if isinstance(self._reason, MoorageError):
            return self._reason
        return Fault(f"{self.name} ended before it was ready: {self._reason!r}")

    def _abandon(self) -> None:
        """Give up on a life that hangs: no more messages, no more rights."""
        self.directory.fence(self.actor_urn)
        ActorRegistry.unregister(self.actor_ref)
        self.actor_stopped.set()
        self._done = True
        self.actor_inbox.close(self._late)
        current = self._current
        if current is not None:
            _answer(current, Fault(f"{self.name} hung and was given up: the outcome is unknown"))


class ThreadActor(Actor, pykka.ThreadingActor):
    """An actor with a thread of its own, which may block."""

    use_daemon_thread = True

    @staticmethod
    def _create_actor_inbox() -> Inbox:
        return Inbox()

    def _start_actor_loop(self) -> None:
        threading.Thread(target=self._actor_loop, name=self.name, daemon=self.use_daemon_thread).start()

    def _actor_loop(self) -> None:
        drive(self._live())


def drive(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in this thread, where awaiting a Reply blocks; anything else to await is a mistake."""
    try:
        coroutine.send(None)
    except StopIteration as result:
        return result.value
    coroutine.throw(RuntimeError("a thread actor can await replies only"))
    return None


def _answer(envelope: Envelope[Any], answer: Any) -> None:
    reply = envelope.reply_to
    if reply is None:
        return
    if isinstance(answer, BaseException):
        reply.set_exception((type(answer), answer, answer.__traceback__))
    else:
        reply.set(answer)
