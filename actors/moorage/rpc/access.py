"""Who the file system lets connect to a socket, besides its owner: a POSIX ACL, under the same mode (acl(5))."""

from __future__ import annotations

import os
import struct
from collections.abc import Collection

ACL = "system.posix_acl_access"

# linux/posix_acl_xattr.h and posix_acl.h
_VERSION = struct.pack("<I", 2)
_ENTRY = struct.Struct("<HHI")
_OWNER, _USER, _OWNING_GROUP, _GROUP, _MASK, _OTHERS = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20
_READ_WRITE = 6  # connecting takes the right to write (unix(7))
_NOBODY = 0xFFFFFFFF


def grant(path: str, uids: Collection[int], gids: Collection[int]) -> None:
    """Let these users and groups connect, all others as with mode 0660. Nobody named changes nothing.

    Raises OSError: EOPNOTSUPP where the file system has no ACLs, EINVAL for an id that this user namespace has not.
    """
    if uids or gids:
        os.setxattr(path, ACL, _acl(uids, gids))


def _acl(uids: Collection[int], gids: Collection[int]) -> bytes:
    entries = [
        (_OWNER, _READ_WRITE, _NOBODY),
        *((_USER, _READ_WRITE, uid) for uid in sorted(set(uids))),
        (_OWNING_GROUP, _READ_WRITE, _NOBODY),
        *((_GROUP, _READ_WRITE, gid) for gid in sorted(set(gids))),
        (_MASK, _READ_WRITE, _NOBODY),
        (_OTHERS, 0, _NOBODY),
    ]
    return _VERSION + b"".join(_ENTRY.pack(*entry) for entry in entries)
