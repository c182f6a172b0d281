"""Room and time for fragments that wait for others, of which a host has one of each family for everybody.

Who sends fragments that nobody completes fills the room, and then nobody's are put together until the time is over.
What one container may send is bounded at its port (`guard.nft`); here are the other two factors.
"""

from __future__ import annotations

import os

from moorage.errors import Refused
from moorage.kernel.linux.sysctl import Sysctls, read

SECONDS = 3
"""How long a datagram waits for the rest of it, at most. By default it is 30 s, and of IPv6 60 s; routers that look
into fragments wait as long as this (Cisco's `ip virtual-reassembly`)."""
ROOM = 128 << 20
"""Bytes for all that waits, at least: a container at its bound takes a fifth of that. By default it is 4 MiB."""
_PART = 32
"""Of the memory that a host has, no more than the part that this says."""

_TIMES = ("net/ipv4/ipfrag_time", "net/netfilter/nf_conntrack_frag6_timeout")
_ROOMS = ("net/ipv4/ipfrag_high_thresh", "net/netfilter/nf_conntrack_frag6_high_thresh")
SYSCTLS = (*_TIMES, *_ROOMS)
"""Those that are changed."""


def ensure(sysctls: Sysctls) -> list[str]:
    """Have no less room, and no more time; returns a sentence for each change.

    What may not be written (`/proc/sys` read-only) stays: traffic does not depend on it.
    """
    room = min(ROOM, os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _PART)
    wanted = {path: min(SECONDS, present) for path in _TIMES if (present := _number(path))}
    wanted |= {path: max(room, present) for path in _ROOMS if (present := _number(path))}
    try:
        return [line for path, value in wanted.items() for line in sysctls.ensure(path, str(value))]
    except Refused:
        return []


def _number(path: str) -> int | None:
    value = read(path)
    return int(value) if value and value.isdigit() else None
