"""One end of a stream connection, and the bytes that wait to leave it."""

from __future__ import annotations

import select
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from moorage.proxy.connection import Connection, Relay
    from moorage.proxy.pipes import Pipe
    from moorage.proxy.reactor import Handler

READ_SIZE = 1 << 16
"""Bytes of one read. A read that fills it is the sign of bulk, which goes by `splice` from then on."""
_IN, _OUT = select.EPOLLIN, select.EPOLLOUT
_UNWATCHED = -1
_END: int = select.EPOLLET
"""To be woken once when both ways are shut, or by a reset, and by nothing else."""
_ABORT = struct.pack("ii", 1, 0)
"""SO_LINGER on, for no time: close sends a reset, and drops what is unsent."""


def abort(sock: socket.socket) -> None:
    """Close `sock` with a reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    sock.close()


class Endpoint:
    """One end of a connection. What was read here and the peer has not taken waits in `_held` or in `_pipe`.

    Nothing more is read while something waits, so a slow peer costs one read's worth of bytes, and the end of
    the stream is only ever seen with nothing left to deliver.
    """

    __slots__ = (
        "_broken",
        "_bulk",
        "_connection",
        "_eof",
        "_held",
        "_mask",
        "_pipe",
        "_read",
        "_relay",
        "_sock",
        "_stuck",
        "_write_some",
        "fd",
        "peer",
    )

    peer: Endpoint

    def __init__(self, relay: Relay, connection: Connection, sock: socket.socket) -> None:
        """Own the non-blocking `sock`; `peer` is set by the connection."""
        self._relay = relay
        self._connection = connection
        self._sock = sock
        self._read = sock.recv
        self._write_some = sock.send
        self.fd = sock.fileno()
        self._mask = _UNWATCHED
        self._held: bytes = b""
        self._pipe: Pipe | None = None
        self._stuck = self._eof = self._broken = self._bulk = False

    def ready(self, events: int) -> None:
        """Write what waits for this end, then read from it: once each."""
        mask = self._mask
        if mask == _IN:  # nothing waits
            self._receive()
            return
        if not mask:  # nothing is awaited, so this is EPOLLERR or EPOLLHUP: a reset
            self._connection.reset()
            return
        if mask == _END:
            if events & select.EPOLLERR:
                self._connection.reset()
            return
        if mask & _OUT and events & ~_IN:
            self.peer.flush()
        if self._mask != _UNWATCHED and mask & _IN and events & ~_OUT:
            self._receive()

    def fail(self) -> None:
        """End the connection after a bug."""
        self._connection.reset()

    def watch(self) -> None:
        """Watch for reading while nothing read waits, for writing while something waits for this end."""
        mask = 0 if self._eof or self._stuck or self.peer._broken else _IN
        if self.peer._stuck:
            mask |= _OUT
        if self._stuck and not mask:
            # EPOLLHUP cannot be masked: a client that has finished behind stuck bytes would wake us for ever
            mask = _END
        self._set_mask(mask)

    def open(self, data: bytes) -> None:
        """Begin with `data`, which the peer gets before anything that is read here."""
        self._send(data)

    def watch_dial(self, dial: Handler) -> None:
        """Wake `dial` once when the connect under way has succeeded or failed."""
        self._mask = _OUT
        self._relay.reactor.register(self.fd, dial, _OUT)

    def watch_reset(self) -> None:
        """Wake for nothing but a reset."""
        self._set_mask(0)

    def flush(self) -> None:
        """Write what waits to the peer, once."""
        try:
            self._write()
        except BlockingIOError:
            return
        except OSError:
            self.peer._lose()
            return
        if not self._stuck:
            self.watch()
            self.peer.watch()

    def close(self, *, reset: bool) -> None:
        """Close the socket; `reset` drops what is unsent, otherwise the kernel still delivers it."""
        self._relay.reactor.drop(self.fd)
        self._discard()
        if reset:
            abort(self._sock)
        else:
            self._sock.close()

    def _set_mask(self, mask: int) -> None:
        before, self._mask = self._mask, mask
        if before == mask:
            return
        if before == _UNWATCHED:
            self._relay.reactor.register(self.fd, self, mask)
        else:
            self._relay.reactor.modify(self.fd, self, mask)

    def _receive(self) -> None:
        try:
            more = self._splice() if self._bulk else self._copy()
        except BlockingIOError:
            self._bulk = False
        except OSError:
            self._connection.reset()
        else:
            if not more:
                self._finish()

    def _copy(self) -> bool:
        data = self._read(READ_SIZE)
        if data:
            if len(data) == READ_SIZE:
                self._bulk = self._connection.spliced
            self._send(data)
        return bool(data)

    def _send(self, data: bytes) -> None:
        try:
            sent = self.peer._write_some(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.peer._lose()
            return
        if sent < len(data):
            self._held = data[sent:]
            self._wait()

    def _splice(self) -> bool:
        pipe = self._relay.pipes.borrow()
        if pipe is None:
            return self._copy()
        self._pipe = pipe
        try:
            count = pipe.fill(self.fd)
        finally:
            if not pipe.held:
                self._drop_pipe()
        if count:
            self._bulk = count >= READ_SIZE
            self._drain()
        return bool(count)

    def _drain(self) -> None:
        try:
            self._write()
        except BlockingIOError:
            self._stuck = True
        except OSError:
            self.peer._lose()
            return
        if self._stuck:
            self._wait()

    def _write(self) -> None:
        if self._pipe is not None:
            self._pipe.drain(self.peer.fd)
            self._stuck = bool(self._pipe.held)
            if not self._stuck:
                self._drop_pipe()
        else:
            self._held = self._held[self.peer._write_some(self._held) :]
            self._stuck = bool(self._held)

    def _wait(self) -> None:
        self._stuck = True
        self.watch()
        self.peer.watch()

    def _finish(self) -> None:
        """Pass the end of the stream on: this end sends no more, the other may."""
        self._eof = True
        if self._broken:
            self._connection.reset()
        elif self.peer._eof:
            self._connection.close()
        else:
            self._shut_peer()

    def _shut_peer(self) -> None:
        try:
            self.peer._sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.peer._lose()
            return
        self.watch()
        self.peer.watch()

    def _lose(self) -> None:
        """Nothing more can be written to this end; what it sent before its reset is delivered first."""
        self._broken = True
        self.peer._discard()
        if self._eof:
            self._connection.reset()
        else:
            self.watch()
            self.peer.watch()

    def _discard(self) -> None:
        self._stuck = False
        self._held = b""
        if self._pipe is not None:
            self._drop_pipe()

    def _drop_pipe(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._relay.pipes.give_back(pipe)
