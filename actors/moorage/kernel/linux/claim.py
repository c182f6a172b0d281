"""One agent for one network namespace: two would take each other's rules and links for a mistake, and undo them."""

from __future__ import annotations

import errno
import os
import socket
import struct
from contextlib import suppress

from moorage.errors import Code, Refused
from moorage.kernel.linux import holder
from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink, attributes
from moorage.log import Log

NAME = b"\0moorage"
"""An abstract Unix address (unix(7)): known in one network namespace only, and gone with the process that has it."""

_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
_EVERY_STATE = 0xFFFFFFFF
_SHOW_NAME, _SHOW_UID = 1 << 0, 1 << 6  # linux/unix_diag.h
_NAME, _UID = 0, 7
_INODE = 4  # in struct unix_diag_msg
_BODY = 16

log = Log()


class LinuxClaim:
    """Holds the network namespace of the calling thread, until `release` or the end of the process."""

    def __init__(self) -> None:
        """Take it. Raises Refused: exists when another agent has it, naming its process.

        A stranger's socket of that name is no agent's, and keeps nobody out: only that of root, or of our own user, is.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._socket.bind(NAME)
        except OSError as error:
            self._socket.close()
            if error.errno != errno.EADDRINUSE:
                raise
            _concede(*_owner())

    def release(self) -> None:
        """Let another agent have it. A second time is no error."""
        self._socket.close()


def _concede(uid: int, inode: int) -> None:
    process = holder.process(inode) or "another process"
    if uid not in {0, os.geteuid()}:
        log.warning("claim_squatted", uid=uid, process=process)
        return
    raise Refused(
        Code.EXISTS,
        f"the links and rules of this network namespace are those of another agent, {process}: use that one's socket, "
        "stop it, or run in a namespace of your own (unshare -n) or with --kernel memory",
    )


def _owner() -> tuple[int, int]:
    """User id and inode of the socket that has the name; root's and 0 where the kernel does not tell."""
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _EVERY_STATE, 0, _SHOW_NAME | _SHOW_UID, 0, 0)
    with suppress(OSError), Netlink(SOCK_DIAG) as netlink:
        for body in netlink.dump(_BY_FAMILY, request):
            found = dict(attributes(body[_BODY:]))
            if found.get(_NAME) == NAME and _UID in found:
                return struct.unpack("=I", found[_UID])[0], struct.unpack_from("=I", body, _INODE)[0]
    return 0, 0
