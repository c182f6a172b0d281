"""One agent for one network namespace: two would take each other's rules and links for a mistake, and undo them."""

from __future__ import annotations

import errno
import os
import secrets
import socket
import struct
from collections.abc import Iterator
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.kernel.linux import holder
from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink, attributes
from moorage.log import Log

NAME = b"\0moorage"
"""An abstract Unix address (unix(7)): known in one network namespace only, and gone with the process that has it."""
BEHIND = NAME + b"/"
"""What the name begins with that is taken where a stranger has `NAME`; what follows he could not know."""

_BY_FAMILY = 20  # SOCK_DIAG_BY_FAMILY, linux/sock_diag.h
_EVERY_STATE = 0xFFFFFFFF
_SHOW_NAME, _SHOW_UID = 1 << 0, 1 << 6  # linux/unix_diag.h
_NAME, _UID = 0, 7
_INODE = 4  # in struct unix_diag_msg
_BODY = 16

log = Log()


class _Socket(NamedTuple):
    """A socket with a name like ours."""

    name: bytes
    uid: int
    inode: int


class LinuxClaim:
    """Holds the network namespace of the calling thread, until `release` or the end of the process."""

    def __init__(self) -> None:
        """Take it. Raises Refused: exists when another agent has it, naming its process.

        A stranger's socket is no agent's, and keeps nobody out: only that of root, or of our own user, is. Who has made
        it counts, not who has it open: anybody can have a program of root's inherit one.
        """
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            self._take()
        except BaseException:
            self._socket.close()
            raise

    def release(self) -> None:
        """Let another agent have it. A second time is no error."""
        self._socket.close()

    def _take(self) -> None:
        """Have a name first, and look then who else has one: of two that come at once, one at least sees the other."""
        taken = not self._bind(NAME)
        if taken:
            self._bind(BEHIND + secrets.token_hex(16).encode())
        own = os.fstat(self._socket.fileno()).st_ino
        found = _named()
        if found is None and taken:
            raise _refusal("another process")
        for each in found or ():
            if each.inode != own:
                _concede(each)

    def _bind(self, name: bytes) -> bool:
        """Whether nobody had the name."""
        try:
            self._socket.bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        return True


def _concede(other: _Socket) -> None:
    """Raise Refused unless it is a stranger's."""
    ours = other.uid in {0, os.geteuid()}
    if not ours and other.name != NAME:
        return
    who = holder.process(other.inode) or "another process"
    if ours:
        raise _refusal(who)
    log.warning("claim_squatted", uid=other.uid, process=who)


def _refusal(who: str) -> Refused:
    return Refused(
        Code.EXISTS,
        f"the links and rules of this network namespace are those of another agent, {who}: use that one's socket, "
        "stop it, or run in a namespace of your own (unshare -n) or with --kernel memory",
    )


def _named() -> list[_Socket] | None:
    """All sockets of this network namespace whose names may be an agent's; None where the kernel does not tell."""
    try:
        with Netlink(SOCK_DIAG) as netlink:
            return list(_dumped(netlink))
    except OSError:
        return None


def _dumped(netlink: Netlink) -> Iterator[_Socket]:
    request = struct.pack("=BBHIIIII", socket.AF_UNIX, 0, 0, _EVERY_STATE, 0, _SHOW_NAME | _SHOW_UID, 0, 0)
    for body in netlink.dump(_BY_FAMILY, request):
        found = dict(attributes(body[_BODY:]))
        name = found.get(_NAME, b"")
        if _UID in found and (name == NAME or name.startswith(BEHIND)):
            uid, inode = struct.unpack("=I", found[_UID])[0], struct.unpack_from("=I", body, _INODE)[0]
            yield _Socket(name, uid, inode)
