"""The journal: the only owner of durable state."""

from __future__ import annotations

import sqlite3
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, NamedTuple

from moorage.control.alarm import Alarm
from moorage.control.context import Context
from moorage.control.recovery import claim_links, maker_of, open_again, open_store
from moorage.control.way_out import WayOut
from moorage.errors import Code, Fault, Refused
from moorage.model.pieces import Reply
from moorage.store import Commit, Damaged, Outcome, RequestKey, Store, Untrusted, is_damage
from moorage.store.copy import CopyReader
from moorage.supervision.actor import ThreadActor
from moorage.supervision.policy import Hopeless
from moorage.values import Interface, Network

TEND = 1.0
"""Seconds between looks at the files of the state while nothing is asked."""


@dataclass(frozen=True, slots=True)
class Append:
    """Make a commit durable; answered with `Done` or `Already`. `author` is the urn of the incarnation that asks."""

    commit: Commit
    author: str


@dataclass(frozen=True, slots=True)
class Recall:
    """The first answer to a request, or None."""

    key: RequestKey


@dataclass(frozen=True, slots=True)
class Open:
    """Everything an operation on an interface begins with; gives an `Opened`."""

    id: str
    key: RequestKey | None = None
    network: str | None = None
    """The network meant, where the interface does not exist yet."""


class Opened(NamedTuple):
    """An interface and its network as recorded, and the first answer to the request."""

    interface: Interface | None
    network: Network | None
    reply: Reply | None


@dataclass(frozen=True, slots=True)
class GetInterfaces:
    """The interfaces of a network, or of all; or those of these ids that there are."""

    network: str | None = None
    ids: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Count:
    """How many networks, interfaces and mappings there are: a tuple of three."""


@dataclass(frozen=True, slots=True)
class GetNetworks:
    """All networks."""


@dataclass(frozen=True, slots=True)
class GetNetwork:
    """One network, or None."""

    name: str


@dataclass(frozen=True, slots=True)
class Leases:
    """What an IP allocator holds: addresses with their holders, the last one given, and what rests until when."""

    held: list[tuple[str, str]]
    last: str | None
    resting: dict[str, float]


@dataclass(frozen=True, slots=True)
class GetLeases:
    """The `Leases` of a network."""

    network: str


@dataclass(frozen=True, slots=True)
class GetPorts:
    """The `TakenPorts` of a protocol; `first` to `last` are the automatic ones."""

    proto: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class TakenPorts:
    """What a port allocator holds: `[(key_ip, first, count, id)]`, and the automatic port given last."""

    held: list[tuple[str, int, int, str]]
    last: int | None


@dataclass(frozen=True, slots=True)
class GetReserved:
    """The ports that we added to `ip_local_reserved_ports`."""


@dataclass(frozen=True, slots=True)
class GetSysctls:
    """The former values of the sysctls that we changed, by path."""


@dataclass(frozen=True, slots=True)
class GetMaker:
    """The `Maker` that what is made is marked with."""


@dataclass(frozen=True, slots=True)
class Foresee:
    """Whether host ports would be refused to a uid in the end: runs of a first one (0 for automatic) and a count.

    For the interface `id`, before anything is taken for it. Raises Refused.
    """

    id: str
    uid: int
    runs: tuple[tuple[int, int], ...]


READ_ONCE = (GetInterfaces, Count)
"""What looks at everything, and is read once for all who ask in one batch."""
_OF_THE_HOST = (GetReserved, GetSysctls, GetMaker)
Query = (Recall, Open, Foresee, *READ_ONCE, GetNetworks, GetNetwork, GetLeases, GetPorts, *_OF_THE_HOST)


@dataclass(frozen=True, slots=True)
class Tend:
    """See whether somebody did something to the files."""


class StateDamaged(Hopeless):
    """A record is not what was written, and nothing that follows from it may be told."""


class JournalHangs(Hopeless):
    """A former life that hangs keeps the lock of the database, which only the end of the process gives back."""


class Journal(ThreadActor):
    """Answers queries and makes commits durable, all that wait as one transaction.

    Queries of a batch are answered from before its commits: both were asked at the same time.
    """

    role: ClassVar[str] = "journal"
    batched = (Append, *Query)

    def __init__(self, context: Context) -> None:
        """Keep the state directory of `context`."""
        super().__init__(context.directory, "journal")
        self._context = context
        self._keeper = context.keeper
        self._way_out = WayOut(context.kernel)
        self._alarm = Alarm(context.events, self._tell_tend)

    async def begin(self) -> None:
        """Open the database; refused when the directory is not ours, or in use.

        A damaged one is put aside and rebuilt, but only at the agent's start: others know already what the
        damaged one told, so that later only a new process helps. Raises StateDamaged, JournalHangs.
        """
        first = not self.directory.restarts_of(self.name)
        try:
            self._keeper.open(partial(self._open, first=first), self._open_again)
        except Untrusted as error:
            raise StateDamaged(error.text) from error
        except Refused as locked:
            if first or not self.directory.abandoned:
                raise
            raise JournalHangs("its former life hangs, and keeps the lock of the database") from locked
        for interface_id in self._keeper.store.forgotten:
            self.log.info("interface_forgotten", id=interface_id, reason="the host has booted since")
        self._alarm.ring_within(TEND)

    async def end(self) -> None:
        """Close the database."""
        self._keeper.close()

    async def receive(self, message: Any) -> Any:
        """Look after the files, though nothing is asked."""
        if not isinstance(message, Tend):
            return await super().receive(message)
        self._alarm.ring_within(TEND)
        return self._keeper.tend()

    def _open(self, *, first: bool) -> Store:
        config, kernel = self._context.config, self._context.kernel
        store = open_store(config, kernel, self._context.lock, self.log, mend=first)
        try:
            if first:
                claim_links(store, config, kernel, self.log)
        except BaseException:
            store.close()
            raise
        return store

    def _open_again(self) -> Store:
        return open_again(self._context.config, self._context.kernel, self._context.lock)

    def _tell_tend(self) -> None:
        if not self.actor_stopped.is_set():
            self.actor_ref.tell(Tend())

    async def receive_batch(self, messages: list[Any]) -> list[Any]:
        """Answer the queries, then commit all that is to be appended at once. Raises StateDamaged."""
        self._keeper.look()
        try:
            return self._answer(messages)
        except (Fault, sqlite3.Error) as error:
            if not is_damage(error):
                raise
            if self._keeper.mend():  # somebody else did that just now
                return self._answer(messages)
            raise StateDamaged(f"{error}: the agent ends, and at its next start saves what it can") from error

    def _answer(self, messages: list[Any]) -> list[Any]:
        known: dict[Any, Any] = {}
        answers: list[Any] = [
            None if isinstance(each, Append) else self._query(each, known) for each in messages
        ]
        appends = [index for index, each in enumerate(messages) if isinstance(each, Append)]
        valid = [index for index in appends if not self.directory.is_fenced(messages[index].author)]
        for index in set(appends).difference(valid):
            answers[index] = Refused(Code.UNAVAILABLE, "the actor that asks was given up: try again")
        commits = [messages[index].commit for index in valid]
        refusals = self._way_out.refusals(self._keeper.reader, commits)
        outcomes = iter(
            self._commit([each for each, no in zip(commits, refusals, strict=True) if no is None])
        )
        for index, refusal in zip(valid, refusals, strict=True):
            answers[index] = refusal or next(outcomes)
        return answers

    def _commit(self, commits: list[Commit]) -> list[Outcome]:
        outcomes = self._keeper.commit(commits) if commits else []
        for outcome in outcomes:
            if isinstance(outcome, Damaged):
                raise outcome
        return outcomes

    def _query(self, query: Any, known: dict[Any, Any]) -> Any:
        """Answer it; what reads everything once in a batch, however many ask: `known` has those answers."""
        try:
            if isinstance(query, READ_ONCE):
                return copy(known.get(query) or known.setdefault(query, _read(self._keeper.reader, query)))
            if isinstance(query, Foresee):
                return self._foresee(query)
            if isinstance(query, GetMaker):
                return maker_of(self._keeper.store, self._context.config)
            return _read(self._keeper.reader, query)
        except Refused as refusal:
            return refusal

    def _foresee(self, query: Foresee) -> Refused | None:
        self._keeper.store.shares.foresee(query.uid, query.runs)
        asked = frozenset(
            port for first, count in query.runs if first for port in range(first, first + count)
        )
        return self._way_out.foresee(self._keeper.reader, query.id, asked)


def _read(store: Store | CopyReader, query: Any) -> Any:  # noqa: C901, PLR0911 - one line for each query
    match query:
        case Open():
            return _open(store, query)
        case Recall(key):
            return store.recall(key)
        case GetInterfaces(network, ids):
            return list[Interface](store.interfaces(network) if ids is None else store.some(ids))
        case Count():
            return store.counts()
        case GetNetworks():
            return list[Network](store.networks())
        case GetNetwork(name):
            return store.network(name)
        case GetLeases(network):
            return Leases(
                store.addresses(network), store.last_address(network), dict(store.quarantined(network))
            )
        case GetPorts(proto, first, last):
            return TakenPorts(store.ports(proto), store.last_port(proto, first, last))
        case GetReserved():
            return store.reserved()
        case GetSysctls():
            return store.sysctls()
    raise NotImplementedError(f"the journal does not know {query!r}")


def _open(store: Store | CopyReader, query: Open) -> Opened:
    interface = store.interface(query.id)
    name = query.network if interface is None else interface.network
    network = None if name is None else store.network(name)
    return Opened(interface, network, None if query.key is None else store.recall(query.key))
