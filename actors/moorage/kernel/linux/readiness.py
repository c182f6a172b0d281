"""Waiting for what the kernel does after it has answered: a port forwards, an address is its own."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from socket import AF_INET6

from moorage.kernel.linux.purse import Purse
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtlinks import Link

_LOCAL_TABLE = 255  # RT_TABLE_LOCAL
_PATIENCE = 0.2
"""Seconds; it takes 1 to 10 ms, and longer only where it will not come at all, such as a link held down."""
_LEAST = 0.01
"""Seconds that are waited for even where it did not come for long: a container may hold its links down."""
_STEP = 0.0005
_purse = Purse()


def await_forwarding(reader: Reader, port: str, bridge: str) -> None:
    """Wait until the bridge forwards to `port`, and sends: what is sent earlier is lost, and sent again after 1 s.

    A bridge gets its carrier with its first port, and a link with a carrier sends once the kernel's queue of work has
    come to it.
    """
    _until(lambda: (link := reader.link(port)) is None or (link.forwarding and _sends(reader.link(bridge))))


def await_sending(reader: Reader, ifindex: int) -> None:
    """Wait until that link sends."""
    _until(lambda: _sends(reader.link_at(ifindex)))


def _sends(link: Link | None) -> bool:
    return link is None or link.sends


def await_addresses(reader: Reader, ifindex: int) -> None:
    """Wait until the host knows the IPv6 addresses we gave to that link as its own.

    The kernel adds the local route after it has answered; what arrives before is lost, and sent again
    after 1 s.
    """
    given = {f"{held.local}/128" for held in reader.addresses(ifindex) if held.nodad}
    _until(lambda: not given or given <= _local(reader, ifindex))


def await_own(reader: Reader, address: str) -> None:
    """The same for one address, whatever else there is. Where rules or routes hide that, patience ends."""
    _until(lambda: reader.is_local(address))


def _local(reader: Reader, ifindex: int) -> set[str]:
    return {route.subnet for route in reader.routes(AF_INET6, ifindex) if route.table == _LOCAL_TABLE}


def _until(ready: Callable[[], bool]) -> None:
    patience = max(_LEAST, min(_PATIENCE, _purse.left()))
    deadline = time.monotonic() + patience
    with suppress(OSError):  # it went away, and with it the reason to wait
        while not ready():
            if time.monotonic() > deadline:
                _purse.take(patience)
                return
            time.sleep(_STEP)
