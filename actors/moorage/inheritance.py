"""Listening sockets that outlive a process: those taken from the one before, and those left for the next."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Hashable, Iterable
from typing import NamedTuple, Protocol
from weakref import WeakSet

from moorage.proxy.listeners import bound
from moorage.proxy.plane import DataPlane


class Named(NamedTuple):
    """A socket, and what it is kept under: an actor's name, or that of a Unix socket's file."""

    name: str
    socket: socket.socket
    stored: bool = False
    """Whether a store has a copy already."""


class Left(NamedTuple):
    """What a proxy leaves behind: its listeners, and the token that its connections have at the data plane."""

    name: str
    plane: DataPlane
    token: int
    sockets: list[socket.socket]


class Store(Protocol):
    """Keeps copies of sockets while no process runs."""

    def push(self, name: str, sockets: Iterable[socket.socket]) -> None:
        """Keep copies under `name`; those it has already are no error."""

    def remove(self, names: Iterable[str]) -> None:
        """Close the copies of these names; all are closed when this returns."""


class Inheritance:
    """The sockets of one agent, from its predecessor to its successor. One that is empty changes nothing."""

    def __init__(
        self,
        sockets: Iterable[Named] = (),
        store: Store | None = None,
        disconnect: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """Begin with `sockets`; `disconnect(name)` ends connections that the predecessor still carries."""
        self._unclaimed: dict[Hashable, Named] = {}
        self._spare: list[Named] = []
        self._store = store
        self._kept: set[str] = set()
        self._stored: WeakSet[socket.socket] = WeakSet()
        self.disconnect = disconnect
        self.left: list[Left] = []
        """What proxies left for a successor, in the order they ended."""
        self.gateway: Named | None = None
        """The agent's own socket, left for a successor."""
        self._ending = self._handing_over = self._parting = False
        for each in sockets:
            self._accept(each)

    def take(self, key: Hashable) -> socket.socket | None:
        """Give the socket known by `key`, its `Bound` or the name of a Unix socket, if there is one."""
        found = self._unclaimed.pop(key, None)
        return None if found is None else found.socket

    async def keep(self, name: str, sockets: Iterable[socket.socket], *, alone: bool = False) -> None:
        """Have the store keep copies, if there is one, of those that it does not have; of them `alone`, if so said."""
        if self._store is None:
            return
        sockets = list(sockets)
        if alone:
            await self._remove(name)
            self._stored.difference_update(sockets)
        self._kept.add(name)
        new = [each for each in sockets if each not in self._stored]
        self._stored.update(new)
        if new:
            await asyncio.get_running_loop().run_in_executor(None, self._store.push, name, new)

    async def drop(self, name: str) -> None:
        """End what is kept or carried elsewhere under `name`, unless its owner ends with the whole tree."""
        if self._parting:
            return
        self.disconnect(name)
        if name in self._kept:
            self._kept.discard(name)
            await self._remove(name)

    async def _remove(self, name: str) -> None:
        if self._store is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._store.remove, [name])

    def settle(self) -> None:
        """Close what nobody took: its mapping was unpublished meanwhile, or changed."""
        unwanted = [*self._unclaimed.values(), *self._spare]
        self._unclaimed.clear()
        self._spare.clear()
        for each in unwanted:
            each.socket.close()
        names = {each.name for each in unwanted} - self._kept
        if self._store is not None and names:
            self._store.remove(names)

    # -- the end

    def end(self, *, handing_over: bool) -> None:
        """The tree is about to stop, and a successor waits or not; requests under way still count."""
        self._ending, self._handing_over = True, handing_over

    def part(self) -> None:
        """All requests are over: if the tree stops, whoever ends from now on was not unpublished."""
        self._parting = self._ending

    def leave(self, left: Left) -> bool:
        """Leave a proxy's listeners and connections to the successor; False when there is none."""
        if not (self._parting and self._handing_over):
            return False
        self.left.append(left)
        return True

    def leave_gateway(self, gateway: Named) -> bool:
        """Leave the agent's own socket to whoever comes next; False when nobody will."""
        if self._ending and self._handing_over:
            self.gateway = Named(gateway.name, gateway.socket.dup())
        return self._ending and (self._handing_over or self._store is not None)

    def _accept(self, named: Named) -> None:
        named.socket.setblocking(False)  # the flag is every process's that has a copy
        if named.stored:
            self._stored.add(named.socket)
        key = named.name if named.socket.family == socket.AF_UNIX else bound(named.socket)
        if key in self._unclaimed:
            self._spare.append(named)
        else:
            self._unclaimed[key] = named
