"""What the modules of this package share to change links: requests, refusals and the one reader."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pyroute2.iproute.linux import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from moorage.errors import Code, Fault, Refused
from moorage.kernel.linux.bounds import limit
from moorage.kernel.linux.rtdump import Reader

OURS = 0x6D
"""The origin (IFA_PROTO, since Linux 5.18) of the addresses we add; the kernel's own use 1 to 3."""

GONE = {errno.ENODEV, errno.ENXIO}
"""What the kernel says of a link that is not there."""

IFA_F_NODAD = 0x02  # linux/if_addr.h


def open_iproute(sock: socket.socket | None = None) -> Any:
    """A new IPRoute of the calling thread, over `sock` if given; its methods are made up at run time."""
    return IPRoute(use_socket=sock)  # type: ignore[no-untyped-call]  # pyroute2 ships no types


class _Changing:
    """Asks for changes, after which nothing is as it was read before."""

    def __init__(self, ip: Any, reader: Reader) -> None:
        self._ip = ip
        self._reader = reader

    def __getattr__(self, name: str) -> Any:
        self._reader.forget()
        return getattr(self._ip, name)


class Rtnetlink:
    """Two route netlink sockets of the host: `ip` asks for changes, `reader` reads quickly, over `reads`.

    Belongs to the thread that made it.
    """

    def __init__(self) -> None:
        self.reads = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
        self.reader = Reader(self.reads)
        self.ip: Any = _Changing(open_iproute(), self.reader)

    def close(self) -> None:
        """Close both sockets."""
        self.ip.close()
        self.reads.close()


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn the kernel's no to `what` (`attach web`) into Refused (denied, unavailable, limit) or Fault."""
    try:
        yield
    except (NetlinkError, OSError) as error:
        number = error.code if isinstance(error, NetlinkError) else error.errno
        if number in GONE:
            raise Refused(Code.UNAVAILABLE, f"a link went away while we were to {what}: try again") from error
        if number in {errno.EPERM, errno.EACCES}:
            raise Refused(
                Code.DENIED,
                f"the kernel does not let us {what}: that needs CAP_NET_ADMIN in this network namespace",
            ) from error
        raise limit(what, error) or Fault(f"the kernel failed to {what}: {error}") from error


@contextmanager
def ignoring(*numbers: int) -> Iterator[None]:
    """Pass over the errors that say that a request was fulfilled before."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in numbers:
            raise
