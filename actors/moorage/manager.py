"""The service manager, where there is one: sd_notify(3), its descriptor store, and sd_listen_fds(3)."""

from __future__ import annotations

import array
import os
import select
import socket
from collections.abc import Iterable, MutableMapping

from moorage.inheritance import Named
from moorage.log import Log

FIRST = 3
"""SD_LISTEN_FDS_START: the first descriptor that was passed."""
BATCH = 250
"""Descriptors in one message; the kernel takes 253 (SCM_MAX_FD)."""
PATIENCE = 5.0
"""Seconds for the manager to take a message, or to have handled all before it."""

log = Log()


class Manager:
    """Sends to `$NOTIFY_SOCKET`; without one, everything is a no-op."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Read `$NOTIFY_SOCKET`, and `$FDSTORE`: how many descriptors it keeps (FileDescriptorStoreMax)."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        limit = environment.get("FDSTORE", "")
        self.stores = bool(address) and limit.isdecimal() and int(limit) > 0
        """Whether it has a descriptor store."""

    def tell(self, state: str, descriptors: Iterable[int] = ()) -> None:
        """Send a state; one that cannot be sent is logged."""
        if not self._address:
            return
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", descriptors))]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.settimeout(PATIENCE)
                sock.sendmsg([state.encode()], rights if rights[0][2] else [], 0, self._address)
        except OSError as error:
            log.warning("notify_failed", reason=str(error))

    def push(self, name: str, sockets: Iterable[socket.socket]) -> None:
        """Keep copies of these in the store. They are not watched: a listener in an odd state is still ours."""
        descriptors = [each.fileno() for each in sockets if each.fileno() >= 0]
        for start in range(0, len(descriptors), BATCH):
            state = f"FDSTORE=1\nFDPOLL=0\nFDNAME={_encode(name)}"
            self.tell(state, descriptors[start : start + BATCH])

    def remove(self, names: Iterable[str]) -> None:
        """Close the copies of these names, and wait until that is done: their ports are to be free."""
        for name in names:
            self.tell(f"FDSTOREREMOVE=1\nFDNAME={_encode(name)}")
        self._barrier()

    def _barrier(self) -> None:
        """Wait until all sent so far is handled: the manager then closes the descriptor (sd_notify_barrier(3))."""
        try:
            reader, writer = os.pipe()
        except OSError as error:
            log.warning("notify_failed", reason=str(error))
            return
        try:
            try:
                self.tell("BARRIER=1", [writer])
            finally:
                os.close(writer)
            poll = select.poll()
            poll.register(reader, 0)
            if not poll.poll(PATIENCE * 1000):
                log.warning("notify_failed", reason="the service manager does not answer")
        finally:
            os.close(reader)


def passed(environment: MutableMapping[str, str] = os.environ) -> list[Named]:
    """Take the sockets that the service manager passed to this process, once: the variables are removed."""
    pid, count, names = (environment.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    descriptors = range(FIRST, FIRST + int(count))
    padded = [*names.split(":"), *[""] * len(descriptors)]
    return [each for each in map(_taken, padded, descriptors) if each is not None]


def _taken(name: str, descriptor: int) -> Named | None:
    try:
        os.set_inheritable(descriptor, False)
        return Named(name, socket.socket(fileno=descriptor), stored=True)
    except OSError as error:
        log.warning("descriptor_not_taken", descriptor=descriptor, name=name, reason=error.strerror)
        return None


def _encode(name: str) -> str:
    """FDNAME allows no colon, and 255 bytes: an actor's name has fewer."""
    return name.replace(":", "~")
