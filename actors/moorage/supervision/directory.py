"""Names of actors: the only thing that actors hold of each other."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Literal

from pykka import ActorRef
from pykka._envelope import Envelope

from moorage.errors import Code, Fault, Refused
from moorage.supervision.reply import Reply

State = Literal["running", "starting", "restarting", "stopping"]
Kind = Literal["worker", "supervisor"]

DEADLINE = 30.0
"""Seconds that an ask waits unless it says otherwise: past any honest answer."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of an actor: a row of `tree`."""

    name: str
    parent: str | None
    kind: Kind
    state: State
    restarts: int
    since: str
    ref: ActorRef[Any]

    @property
    def mailbox(self) -> int:
        """How many messages wait."""
        return len(self.ref.actor_inbox)  # type: ignore[arg-type]  # every actor here has our Inbox


class Directory:
    """Where supervisors write who is who, and senders look it up at each send. For any thread."""

    def __init__(self, on_restart: Callable[[str, str], None] | None = None) -> None:
        """`on_restart(name, reason)` is told of every restart, in the supervisor's thread."""
        self._lock = threading.Lock()
        self._entries: dict[str, Entry] = {}
        self._fenced: set[str] = set()
        self._hanging: set[str] = set()
        self._lost: set[str] = set()
        self.on_restart = on_restart or _unheard
        self.restarts = 0
        """How many restarts there were, of all actors."""

    def enter(self, name: str, ref: ActorRef[Any], parent: str | None, kind: Kind) -> None:
        """A new incarnation starts under this name."""
        with self._lock:
            former = self._entries.get(name)
            restarts = 0 if former is None else former.restarts
            self._entries[name] = Entry(name, parent, kind, "starting", restarts, _now(), ref)

    def mark(self, name: str, state: State, urn: str) -> None:
        """The state of that incarnation changed."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.ref.actor_urn == urn:
                self._entries[name] = replace(entry, state=state)

    def restarting(self, name: str, reason: str) -> None:
        """The actor ended and will be started again; its name stays, its restarts are counted."""
        with self._lock:
            self.restarts += 1
            if (entry := self._entries.get(name)) is not None:
                self._entries[name] = replace(entry, state="restarting", restarts=entry.restarts + 1)
        self.on_restart(name, reason)

    def leave(self, name: str, urn: str) -> None:
        """That incarnation is gone for good."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None and entry.ref.actor_urn == urn:
                del self._entries[name]

    def lose(self, name: str) -> None:
        """Nobody will have this name again before the agent ends: who asks need not try again."""
        with self._lock:
            self._lost.add(name)

    def is_lost(self, name: str) -> bool:
        """Whether nobody will have this name again."""
        return name in self._lost

    def restarts_of(self, name: str) -> int:
        """How often the actor of that name was restarted under its present supervisor."""
        entry = self._entries.get(name)
        return 0 if entry is None else entry.restarts

    def fence(self, urn: str, *, hangs: bool) -> None:
        """That incarnation was given up: what it still says is void. While it `hangs`, it is counted."""
        with self._lock:
            self._fenced.add(urn)
            if hangs:
                self._hanging.add(urn)

    def over(self, urn: str) -> None:
        """That incarnation does not hang any more, if it did."""
        with self._lock:
            self._hanging.discard(urn)

    def is_fenced(self, urn: str) -> bool:
        """Whether that incarnation was given up."""
        return urn in self._fenced

    @property
    def abandoned(self) -> int:
        """How many incarnations were given up and still hang, each perhaps in a thread."""
        return len(self._hanging)

    def find(self, name: str) -> ActorRef[Any] | None:
        """The present incarnation, or None."""
        entry = self._entries.get(name)
        return None if entry is None else entry.ref

    def entries(self) -> list[Entry]:
        """Every actor, each after its parent, although a child may be entered before the one that started it."""
        with self._lock:
            return sorted(self._entries.values(), key=self._depth)

    def _depth(self, entry: Entry) -> int:
        parent = None if entry.parent is None else self._entries.get(entry.parent)
        return 0 if parent is None else 1 + self._depth(parent)


@dataclass(frozen=True, slots=True)
class Address:
    """A name to send to, looked up at each send, so that a restart is seen only as `unavailable`.

    `sender` is the urn of the actor that sends; when it was given up, it reaches nobody any more.
    """

    directory: Directory
    name: str
    sender: str | None = None

    def ask(self, message: Any, deadline: float | None = DEADLINE) -> Reply:
        """Send and get the answer to come; refused as `unavailable` when nobody has that name."""
        ref = self._find()
        if self.directory.is_lost(self.name):
            return Reply.failed(
                Fault(f"{self.name} cannot go on, and the agent ends: ask the next one again")
            )
        if ref is None:
            return Reply.failed(Refused(Code.UNAVAILABLE, f"{self.name} is not running: try again"))
        return ask(ref, message, deadline, self.name)

    def tell(self, message: Any) -> None:
        """Send without an answer; nobody there is no error."""
        if (ref := self._find()) is not None:
            ref.actor_inbox.put(Envelope(message))

    @property
    def is_void(self) -> bool:
        """Whether its sender was given up."""
        return self.sender is not None and self.directory.is_fenced(self.sender)

    def _find(self) -> ActorRef[Any] | None:
        return None if self.is_void else self.directory.find(self.name)


def ask(ref: ActorRef[Any], message: Any, deadline: float | None, what: str) -> Reply:
    """Send to one incarnation. Unlike pykka's `ask`, a closed inbox answers for itself."""
    reply = Reply(what, deadline)
    ref.actor_inbox.put(Envelope(message, reply_to=reply))
    return reply


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _unheard(_name: str, _reason: str) -> None:
    return None
