"""Who reaches the listeners of a mapping: everybody, or the host itself alone.

From outside a mapping is reached by the kernel's rules. While these are not there yet, or no longer, a listener would
answer as well, and would show the container the gateway's address; and whom it answers by datagrams stays with it,
since conntrack takes the answer for the begin of a flow of the host's. So it is shut at that time: by a program of the
socket, which drops what came by another link than `lo`. To one who connects that is a lost segment, to be sent again.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterable
from contextlib import suppress

_ATTACH_FILTER, _DETACH_FILTER = 26, 27
"""SO_ATTACH_FILTER and SO_DETACH_FILTER of socket(7), which Python's socket module does not name."""
_MEMINFO, _DROPS = 55, 8
"""SO_MEMINFO, and SK_MEMINFO_DROPS of linux/sock_diag.h: which of its numbers says how many packets were dropped."""
_LINK = 0xFFFFF008
"""SKF_AD_OFF + SKF_AD_IFINDEX of linux/filter.h: the number of the link that a packet came in by."""
_LO = 1
"""The number of `lo`, in every network namespace."""
_FILTER = ctypes.create_string_buffer(
    struct.pack("HBBI", 0x20, 0, 0, _LINK)  # BPF_LD | BPF_W | BPF_ABS
    + struct.pack("HBBI", 0x15, 0, 1, _LO)  # BPF_JMP | BPF_JEQ | BPF_K: else skip one
    + struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF)  # BPF_RET | BPF_K: all of the packet
    + struct.pack("HBBI", 0x06, 0, 0, 0)
)
"""struct sock_filter."""
_PROGRAM = struct.pack("@HP", 4, ctypes.addressof(_FILTER))
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
        self._left = (
            False  # whether other listeners were shut, of which nobody knows any more whom they turned away
        )

    @property
    def is_shut(self) -> bool:
        """Whether listeners hear the host itself alone."""
        return self._is_shut

    def lead_to(self, sockets: Iterable[socket.socket]) -> None:
        """Be the gate of these, and of no others."""
        former, self._sockets = self._sockets, frozenset(sockets)
        self._left |= self._is_shut and not former <= self._sockets
        self._apply()

    def shut(self) -> None:
        """Keep everybody outside."""
        self._is_shut = True
        self._apply()

    def has_turned_away(self) -> bool:
        """Whether somebody may have been kept outside since it was shut."""
        return self._left or any(map(_dropped, self._sockets))

    def open(self) -> None:
        """Let everybody in."""
        self._is_shut = self._left = False
        self._apply()

    def _apply(self) -> None:
        for sock in self._sockets:
            with suppress(OSError):  # the data plane has closed it
                (shut if self._is_shut else unshut)(sock)
