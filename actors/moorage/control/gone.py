"""Interfaces whose container has ended, and what somebody would be refused for their sake.

The end of a namespace is noticed by the links, soon, but not at once: after a start it takes seconds. Whoever is to be
refused for what such an interface holds is not: it is collected first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any

from moorage.control.journal import GetInterfaces
from moorage.control.links import Collect, FindGone
from moorage.errors import MoorageError
from moorage.supervision.directory import Address
from moorage.values import Interface

MOST = 4096
"""Holders that are looked at together, some 50 ms. Where there are more, the audit finds the rest."""


async def find_gone(links: Address, interfaces: Collection[Interface]) -> list[Interface]:
    """Those of these whose namespace has ended."""
    attached = tuple(each for each in interfaces if each.netns is not None)
    gone = set(await links.ask(FindGone(attached))) if attached else set()
    return [each for each in attached if each.id in gone]


class Collector:
    """Looks at holders, and has those collected whose container has ended.

    One look is under way at a time; all who ask meanwhile are answered by the next one, which looks at each once.
    """

    def __init__(
        self, address: Callable[[str], Address], tell: Callable[[str, Collect], Awaitable[Any]]
    ) -> None:
        """`address` finds an actor; `tell(id, message)` asks an interface."""
        self._address, self._tell = address, tell
        self._asked: list[tuple[str, ...]] = []
        self._next: asyncio.Task[frozenset[str]] | None = None
        self._turn = asyncio.Lock()

    async def collect(self, holders: Collection[str]) -> bool:
        """Have those of these interfaces collected whose container has ended; whether there was one.

        Where that cannot be found out now nothing is done.
        """
        if not holders:
            return False
        self._asked.append(tuple(holders))
        if self._next is None:
            self._next = asyncio.create_task(self._look())
        gone = await asyncio.shield(self._next)
        return bool(gone) and not gone.isdisjoint(holders)

    async def _look(self) -> frozenset[str]:
        """Look, after the look that is under way, at what is asked until then; gives who was gone."""
        async with self._turn:
            asked, self._asked, self._next = self._asked, [], None
            try:
                recorded = await self._address("journal").ask(GetInterfaces(ids=_first(asked)))
                gone = await find_gone(self._address("links"), recorded)
                for each in gone:
                    await self._tell(each.id, Collect(each.netns_cookie))
            except MoorageError:
                return frozenset()
            return frozenset(each.id for each in gone)


def _first(sets: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """So many of these as are looked at, the smaller sets first: who asks for few is not crowded out."""
    ids: dict[str, None] = {}
    for each in sorted(set(sets), key=len):
        ids.update(dict.fromkeys(each))
        if len(ids) >= MOST:
            break
    return tuple(ids)[:MOST]
