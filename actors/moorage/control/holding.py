"""Who else of the host holds a port."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from threading import BoundedSemaphore

from moorage.kernel.protocol import Kernel
from moorage.proxy.listeners import PortBusy, open_listeners
from moorage.values import Mapping

PIECE = 256
"""Ports that are looked at together, each with a descriptor."""
SEARCHES = 2
"""Holders that are looked for at a time."""
_searches = BoundedSemaphore(SEARCHES)


async def check_free(mappings: Iterable[Mapping]) -> None:
    """Raise what opening listeners for these would; then nothing holds the ports."""
    loop = asyncio.get_running_loop()
    for mapping in mappings:
        await loop.run_in_executor(None, _try, mapping)


async def bound(kernel: Kernel, proto: str) -> frozenset[int]:
    """Every port that somebody's socket is bound to, as far as the kernel tells."""
    with suppress(OSError):  # without descriptors none are known
        return await asyncio.get_running_loop().run_in_executor(None, kernel.bound, proto)
    return frozenset()


async def named(kernel: Kernel, busy: PortBusy) -> PortBusy:
    """The same, saying who holds the port as far as the kernel tells; 15 ms and more, for all of /proc is read."""
    if busy.holders:
        return busy
    who = await _search(kernel, busy)
    busy.text = (
        f"port {busy.port}/{busy.proto} is held by {who or 'another process of the host'}: "
        "stop it, or publish on another host port"
    )
    return busy


async def _search(kernel: Kernel, busy: PortBusy) -> str | None:
    """Whom the kernel names; nobody while so many others are looked for: threads are few, and a search is long."""
    if not _searches.acquire(blocking=False):
        return None
    try:
        return await asyncio.get_running_loop().run_in_executor(None, kernel.holder, busy.proto, busy.port)
    except OSError:  # without descriptors nobody can be named
        return None
    finally:
        _searches.release()


def _try(mapping: Mapping) -> None:
    for offset in range(0, mapping.count, PIECE):
        first, count = mapping.host_port + offset, min(PIECE, mapping.count - offset)
        for sock in open_listeners(mapping.proto, mapping.host_ip, first, count, dual=mapping.dual):
            sock.close()
