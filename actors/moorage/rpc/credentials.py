"""Who is at the other end of a Unix socket, as the kernel tells."""

from __future__ import annotations

import array
import os
import socket
import struct
from typing import NamedTuple

from moorage.config import Config
from moorage.errors import Code, Refused
from moorage.model.caller import Caller

SO_PEERGROUPS = 59
"""asm-generic/socket.h: the supplementary groups of the peer, since Linux 4.13."""
GROUPS = 256
"""The most that Python's getsockopt can ask for; of a peer with more, only its own gid is known."""


class Peer(NamedTuple):
    """A client's process: its effective uid and gid when it connected, and all its groups, that one among them."""

    uid: int
    gids: frozenset[int]
    gid: int = 0

    @property
    def caller(self) -> Caller | None:
        """Whose rights count for what it names; None for root and the agent's own user, who are trusted."""
        return None if self.uid in {0, os.geteuid()} else Caller(self.uid, self.gid, self.gids)


def peer_of(sock: socket.socket) -> Peer:
    """Ask the kernel. `sock` is connected."""
    _, uid, gid = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    gid &= 0xFFFF_FFFF
    return Peer(uid & 0xFFFF_FFFF, frozenset({gid, *_groups(sock)}), gid)


def _groups(sock: socket.socket) -> array.array[int]:
    try:
        return array.array("I", sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * GROUPS))
    except OSError:
        return array.array("I")


def refusal(peer: Peer, config: Config) -> Refused | None:
    """Why this client is refused everything; None when it may ask."""
    if peer.uid in {0, os.geteuid(), *config.allow_uids} or peer.gids.intersection(config.allow_gids):
        return None
    return Refused(
        Code.DENIED,
        f"uid {peer.uid} may not use this agent: name it in allow_uids, or one of its groups in allow_gids",
    )
