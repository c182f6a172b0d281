"""Who reaches the listeners of a mapping: everybody, or the host itself alone.

From outside a mapping is reached by the kernel's rules. While these are not there yet, or no longer, a listener would
answer as well, and would show the container the gateway's address; and whom it answers by datagrams stays with it,
since conntrack takes the answer for the begin of a flow of the host's. So it is shut at that time: by a program of the
socket, which drops what came by another link than `lo`. To one who connects that is a lost segment, to be sent again.

By `lo` every program of the host may send IPv6 in the name of somebody outside, who would get the answer. What is
heard of IPv6 is therefore from the address that it is for, as what the host sends to itself is, unless its sender
binds another.
"""

from __future__ import annotations

import asyncio
import ctypes
import socket
import struct
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

_ATTACH_FILTER, _DETACH_FILTER = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER of socket(7), which Python's socket module does not name."""
_MEMINFO, _DROPS = 55, 8
"""SO_MEMINFO, and SK_MEMINFO_DROPS of linux/sock_diag.h: which of its numbers says how many packets were dropped."""
_LINK = 0xFFFFF008
"""SKF_AD_OFF + SKF_AD_IFINDEX of linux/filter.h: the number of the link that a packet came in by."""
_LO = 1
"""The number of `lo`, in every network namespace."""
_HEADER = 0xFFF00000
"""SKF_NET_OFF of linux/filter.h: where the header of IP begins."""
_WORD, _BYTE, _MASK, _KEEP, _RETURN = 0x20, 0x30, 0x54, 0x07, 0x06
"""Codes of linux/bpf_common.h: load a word or a byte, BPF_ALU | BPF_AND, BPF_MISC | BPF_TAX, BPF_RET."""
_IS, _IS_KEPT = 0x15, 0x1D
"""BPF_JMP | BPF_JEQ with BPF_K or BPF_X, which say how many steps to skip if it is so, and if not."""


def _steps() -> Iterator[tuple[int, int, int, int]]:
    """What the program does: for each step its code, what it skips, and its number."""
    yield _WORD, 0, 0, _LINK
    yield _IS, 0, 20, _LO
    yield _BYTE, 0, 0, _HEADER
    yield _MASK, 0, 0, 0xF0
    yield _IS, 0, 16, 6 << 4
    for word in range(4):
        yield _WORD, 0, 0, _HEADER + 8 + 4 * word  # of the source
        yield _KEEP, 0, 0, 0
        yield _WORD, 0, 0, _HEADER + 24 + 4 * word  # of whom it is for
        yield _IS_KEPT, 0, 13 - 4 * word, 0
    yield _RETURN, 0, 0, 0xFFFFFFFF  # all of the packet
    yield _RETURN, 0, 0, 0


_FILTER = b"".join(struct.pack("HBBI", *step) for step in _steps())
"""struct sock_filter."""
_KEPT = ctypes.create_string_buffer(_FILTER)
_PROGRAM = struct.pack("@HP", len(_FILTER) // 8, ctypes.addressof(_KEPT))
"""struct sock_fprog."""


def shut(sock: socket.socket) -> None:
    """Have `sock` hear the host itself alone. What comes by a connection that it accepts is not affected."""
    sock.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, _PROGRAM)


def unshut(sock: socket.socket) -> None:
    """Have `sock` hear everybody; one that does is no error."""
    with suppress(FileNotFoundError):
        sock.setsockopt(socket.SOL_SOCKET, _DETACH_FILTER, 0)


def _dropped(sock: socket.socket) -> int:
    """How many packets that listener dropped, for whatever reason; 1 where that cannot be said."""
    try:
        found = sock.getsockopt(socket.SOL_SOCKET, _MEMINFO, 4 * (_DROPS + 1))
        return int(struct.unpack_from("=I", found, 4 * _DROPS)[0])
    except (OSError, struct.error):
        return 1


class Gate:
    """The listeners of one mapping, which are shut together, those that are opened later included.

    Whom they turn away comes again, and conntrack has an entry of him by then that no rule is asked about.
    """

    def __init__(self, *, is_shut: bool) -> None:
        """Begin with none."""
        self._is_shut = is_shut
        self._sockets: frozenset[socket.socket] = frozenset()
        self._awaits: Future[None] | None = None
        self._left = False  # whether others were shut, of which nobody knows any more whom they turned away

    @property
    def is_shut(self) -> bool:
        """Whether listeners hear the host itself alone."""
        return self._is_shut

    def lead_to(self, sockets: Iterable[socket.socket]) -> None:
        """Be the gate of these, and of no others."""
        former, self._sockets = self._sockets, frozenset(sockets)
        self._left |= self._is_shut and not former <= self._sockets
        self._apply()

    def open_after(self, done: Future[None], loop: asyncio.AbstractEventLoop) -> None:
        """Let everybody in, in `loop`, once this is done, unless it is shut or opened before."""
        self._awaits = done
        done.add_done_callback(partial(self._call_open, loop))

    def _call_open(self, loop: asyncio.AbstractEventLoop, done: Future[None]) -> None:
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(self._open_awaited, done)

    def _open_awaited(self, done: Future[None]) -> None:
        if self._awaits is done:
            self.open()

    def shut(self) -> None:
        """Keep everybody outside."""
        self._is_shut, self._awaits = True, None
        self._apply()

    def has_turned_away(self) -> bool:
        """Whether somebody may have been kept outside since it was shut."""
        return self._left or any(map(_dropped, self._sockets))

    def open(self) -> None:
        """Let everybody in."""
        self._is_shut, self._awaits, self._left = False, None, False
        self._apply()

    def _apply(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):  # the data plane has closed it
                (shut if self._is_shut else unshut)(sock)
