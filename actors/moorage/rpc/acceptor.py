"""Accepting clients on asyncio's loop, also when descriptors run out.

asyncio's own accept loop tries as often as the backlog is long, and logs each: 512 tracebacks a second.

Clients have descriptors up to a bound (`moorage.descriptors`), and those who are trusted beyond it: who has the others
does not keep them out.
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress

from moorage import descriptors
from moorage.log import Log

BATCH = 16
"""Clients accepted in one turn of the loop."""
REST = 0.1
"""Seconds until the next attempt when there is no descriptor."""
QUIET = 10.0
"""Seconds after the last client that was turned away for want of a descriptor, after which that is over."""
EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

log = Log()


class Acceptor:
    """Makes a protocol for each client of a listening socket, which stays the caller's, until `close`."""

    def __init__(
        self,
        sock: socket.socket,
        protocol: Callable[[], asyncio.BaseProtocol],
        *,
        trusts: Callable[[socket.socket], bool] = lambda _client: False,
        tell: Callable[[str], None] = lambda _sentence: None,
    ) -> None:
        """Begin, on the running loop.

        `tell` is given a sentence when clients begin to be turned away for want of descriptors, and an empty one when
        that is over.
        """
        self._loop = asyncio.get_running_loop()
        self._socket = sock
        self._protocol = protocol
        self._trusts = trusts
        self._tell = tell
        self._refused = 0
        self._quiet: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self._spare = -1
        self._take_spare()
        self._begin()

    async def close(self) -> None:
        """Accept no more, and wait until those who were accepted have their protocols: somebody is to end them."""
        self._loop.remove_reader(self._socket)
        if self._rest is not None:
            self._rest.cancel()
        if self._quiet is not None:
            self._quiet.cancel()
            self._tell("")
        self._give_spare()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self) -> None:
        self._rest = None
        self._take_spare()
        self._loop.add_reader(self._socket, self._accept)

    def _accept(self) -> None:
        for _ in range(BATCH):
            try:
                client, _address = self._socket.accept()
            except OSError as error:
                if error.errno in EXHAUSTED:
                    self._pause(error)
                return
            if self._is_admitted(client):
                self._join(client)
            else:
                client.close()
                self._count("they have their share")

    def _is_admitted(self, client: socket.socket) -> bool:
        number = client.fileno()
        if number < descriptors.for_clients():
            return True
        return number < descriptors.for_clients(trusted=True) and self._trusts(client)

    def _join(self, client: socket.socket) -> None:
        client.setblocking(False)
        task = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol, client))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _pause(self, error: OSError) -> None:
        """Close the first that waits, with the spare descriptor, so that it need not wait in vain."""
        self._count(error.strerror or "there are none")
        self._give_spare()
        with suppress(OSError):  # another thread may have taken the descriptor
            self._socket.accept()[0].close()
        self._take_spare()
        self._loop.remove_reader(self._socket)
        self._rest = self._loop.call_later(REST, self._begin)

    def _count(self, reason: str) -> None:
        """Say once that clients are turned away, until none has been for a while."""
        if not self._refused:
            log.warning("descriptors_exhausted", reason=reason)
            self._tell(
                f"clients of the socket are turned away for want of descriptors ({reason}): raise LimitNOFILE"
            )
        self._refused += 1
        if self._quiet is not None:
            self._quiet.cancel()
        self._quiet = self._loop.call_later(QUIET, self._over)

    def _over(self) -> None:
        log.info("descriptors_there_again", refused=self._refused)
        self._refused, self._quiet = 0, None
        self._tell("")

    def _take_spare(self) -> None:
        if self._spare < 0:
            try:
                self._spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._spare = -1  # tried again later

    def _give_spare(self) -> None:
        if self._spare >= 0:
            os.close(self._spare)
            self._spare = -1
