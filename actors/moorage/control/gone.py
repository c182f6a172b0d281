"""Interfaces whose container has ended, and what somebody would be refused for their sake.

The end of a namespace is noticed by the links, soon, but not at once: after a start it takes seconds. Whoever is to be
refused for what such an interface holds is not: it is collected first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection
from typing import Any

from moorage.control.journal import GetInterfaces
from moorage.control.links import Collect, FindGone
from moorage.errors import MoorageError
from moorage.supervision.directory import Address
from moorage.values import Interface

MOST = 4096
"""Holders that are looked at for one refusal, some 50 ms. Where there are more, the audit finds the rest."""


async def find_gone(links: Address, interfaces: Collection[Interface]) -> list[Interface]:
    """Those of these whose namespace has ended."""
    attached = tuple(each for each in interfaces if each.netns is not None)
    gone = set(await links.ask(FindGone(attached))) if attached else set()
    return [each for each in attached if each.id in gone]


async def collect_gone(
    address: Callable[[str], Address],
    tell: Callable[[str, Collect], Awaitable[Any]],
    holders: Collection[str],
) -> bool:
    """Have those of these interfaces collected whose container has ended; whether there was one.

    `tell(id, message)` asks an interface. Where that cannot be found out now nothing is done.
    """
    if not holders:
        return False
    try:
        recorded = await address("journal").ask(GetInterfaces(ids=tuple(holders)[:MOST]))
        gone = await find_gone(address("links"), recorded)
        for each in gone:
            await tell(each.id, Collect(each.netns_cookie))
    except MoorageError:
        return False
    return bool(gone)
