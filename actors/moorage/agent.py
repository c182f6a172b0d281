"""The agent: the tree of actors as one object, and its methods for a program that embeds it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable
from concurrent.futures import Future, wait
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pykka import ActorRef

from moorage.config import Config
from moorage.control.context import Context, now
from moorage.control.desk import Desk, answer
from moorage.control.estate import Estate
from moorage.control.finder import Finder
from moorage.control.gateway import Join, Leave, Queue
from moorage.control.plane import Plane
from moorage.control.tree import Root
from moorage.errors import Code, Refused
from moorage.inheritance import Inheritance
from moorage.log import Log
from moorage.methods import EventStream, Methods
from moorage.rpc.answers import plain
from moorage.rpc.listener import UnixListener
from moorage.rpc.schema import EVENTS as ALL_EVENTS
from moorage.rpc.schema import check
from moorage.store.keeper import Keeper
from moorage.supervision.directory import Address, Directory, ask
from moorage.supervision.loop import EventLoop
from moorage.supervision.messages import Crash, Exit, Stop, Tick, Watch
from moorage.taking import open_kernel, take
from moorage.threads import Helper, Lost
from moorage.undoing import Former

log = Log()

TICK = 1.0
"""Seconds between looks for actors that hang."""
START = 300.0
"""Seconds for the whole tree to be ready: more than the sum of its parts'."""
STOP = 90.0
"""Seconds for the whole tree to stop."""
DRAIN = 10.0
"""Seconds for calls of this process to hear, when the tree has stopped, what became of them."""
EVENTS = 4096
"""Events that a subscriber in this process may leave unread."""


class Agent(Methods):
    """A running agent. Use it in a `with` statement, or `start` and `stop` it.

    Without a `socket` in its configuration it listens in its state directory. Its actors are its own: a program
    that embeds it, and that program's pykka actors, are not touched by a crash or the end of it.
    """

    def __init__(self, config: Config | None = None) -> None:
        """Make nothing yet."""
        config = config or Config()
        state = config.state_path
        socket = config.socket if config.socket is not None else state / "moorage.sock"
        self.config = replace(config, state=state, socket=socket)
        self._context: Context | None = None
        self._root: ActorRef[Root] | None = None
        self._desk: Desk | None = None
        self._lock = threading.Lock()
        self._calls: set[Future[Any]] = set()
        self._clock = threading.Event()
        self.ended = threading.Event()
        """Set when the tree is over: stopped, or given up."""
        self.reason: BaseException | None = None
        """What the tree died of, if it gave up."""

    @property
    def socket(self) -> Path:
        """Where clients reach it."""
        return Path(str(self.config.socket))

    def start(self, inheritance: Inheritance | None = None) -> Self:
        """Start the tree and wait until it is ready. Raises Refused or Fault, with nothing left running or changed.

        `inheritance` has listening sockets of an agent that ran on the same state before.
        """
        with self._lock:
            if self._context is not None:
                raise Refused(Code.EXISTS, "this agent runs already: stop it first")
            former = Former(self.config)
            try:
                context = _surroundings(self.config, inheritance or Inheritance(), self._lose, former)
            except BaseException:
                former.folders.remove()
                raise
            self._context = context
        try:
            self._start_tree(context)
            context.inheritance.settle()
        except BaseException:
            self._stop(handing_over=False, former=former)
            raise
        return self

    def _start_tree(self, context: Context) -> None:
        self.ended.clear()
        self.reason = None
        self._root = Root.start(context)
        ask(self._root, Watch(self._hear), START, "root").wait()
        self._desk = Desk(context, lambda name: Address(context.directory, name))
        self._clock.clear()
        Helper("moorage-clock", self._tick, self._lose).start()

    def stop(self) -> None:
        """Finish what is under way and stop the tree in reverse order; rules and links stay. Twice is no error."""
        self._stop(handing_over=False)

    def hand_over(self) -> Estate:
        """Stop as `stop` does, but leave listeners and connections to the data plane, for a successor.

        Raises Refused (unavailable) when it is not running.
        """
        context = self._running()
        self._stop(handing_over=True)
        return Estate(context.plane, context.inheritance)

    def _stop(self, *, handing_over: bool, former: Former | None = None) -> None:
        """Stop the tree; have all as it was before it started, if its start was refused and `former` knows that."""
        with self._lock:
            context, self._context = self._context, None
            root, self._root = self._root, None
            desk, self._desk = self._desk, None
        self._clock.set()
        if context is None:
            return
        context.inheritance.end(handing_over=handing_over)
        try:
            if desk is not None:
                desk.close()
            if root is not None:
                ask(root, Stop(), STOP, "root").wait()
        finally:
            wait(list(self._calls), DRAIN)
            if not handing_over:
                context.plane.close()
            context.events.close()
            context.keeper.end()
            for listener in context.listeners:
                listener.give_up()
            if former is not None:
                former.restore(context.kernel, context.lock)
            context.claim.release()
            context.lock.release()
            if former is not None:
                former.folders.remove()

    def subscribe(self, events: Iterable[str] | None = None) -> EventStream:
        """Return a stream of these events, or of all; what happens after this call is in it."""
        wanted = check("subscribe", [] if events is None else [{"events": list(events)}]).get("events")
        return _Stream(self._running(), wanted)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        result, error = self._submit(method, params).result()
        if error is not None:
            raise error
        return plain(result)

    def _submit(self, method: str, params: dict[str, Any]) -> Future[Any]:
        """Begin a call, unless `stop` did before: it waits for those that were begun."""
        with self._lock:
            context = self._running()
            if self._desk is None:
                raise Refused(Code.UNAVAILABLE, "the agent is starting: try again")
            call = context.events.submit(answer(self._desk, method, [params]))
            self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return call

    def _running(self) -> Context:
        context = self._context
        if context is None or self.ended.is_set():
            raise Refused(Code.UNAVAILABLE, "the agent is not running: start it first")
        return context

    def _hear(self, exit_: Exit) -> None:
        self.reason = exit_.reason
        self.ended.set()

    def _lose(self, error: BaseException) -> None:
        """A thread died that all actors need: there is nobody to start them again."""
        log.critical("agent_lost_thread", thread=threading.current_thread().name, exc_info=error)
        self.reason = error
        self.ended.set()

    def _tick(self) -> None:
        while not self._clock.wait(TICK):
            root = self._root
            context = self._context
            if root is not None and context is not None:
                Address(context.directory, "root").tell(Tick())


class _Stream(EventStream):
    """Events that the gateway puts into a queue."""

    def __init__(self, context: Context, events: Iterable[str] | None) -> None:
        self._gateway = Address(context.directory, "gateway")
        self._queue: Queue = queue.SimpleQueue()
        wanted = frozenset(ALL_EVENTS if events is None else events)
        self._gateway.ask(Join(self._queue, wanted, EVENTS)).wait()

    def __next__(self) -> dict[str, Any]:
        event = self._queue.get()
        if event is None:
            self._queue.put(None)  # whoever asks again is told again
            raise StopIteration
        return event

    def close(self) -> None:
        self._gateway.tell(Leave(self._queue))
        self._queue.put(None)


def _surroundings(config: Config, inheritance: Inheritance, lost: Lost, former: Former) -> Context:
    kernel = open_kernel(config)
    with ExitStack() as undoing:
        lock, claim = take(config, kernel)
        undoing.callback(lock.give_up)
        undoing.callback(claim.release)
        former.look(kernel)
        listener = UnixListener(config.socket_path, inheritance.take, waiting=True)
        undoing.callback(listener.give_up)
        directory = Directory()
        proxies = Address(directory, "proxies")
        plane = Plane(
            on_death=lambda _error: proxies.tell(Crash()),
            on_failure=lambda name: Address(directory, f"proxy:{name}").tell(Crash()),
        )
        undoing.callback(plane.close)
        loop = EventLoop("moorage-loop", lost).start()
        undoing.callback(loop.close)
        keeper = Keeper(config.state_path, lock)
        undoing.pop_all()
    context = Context(
        config,
        kernel,
        directory,
        loop,
        plane,
        lock,
        claim,
        Finder(kernel),
        keeper,
        now(),
        inheritance,
        listeners=[listener],
    )
    plane.on_crowd = lambda name, sentence: _tell_crowd(context, name, sentence)
    directory.on_restart = lambda name, reason: context.emit("actor_restarted", actor=name, reason=reason)
    return context


def _tell_crowd(context: Context, name: str, sentence: str) -> None:
    context.warnings.say(f"proxy:{name}", [sentence] if sentence else [])
