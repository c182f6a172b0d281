"""A user's own file system (FUSE) that answers when it is told to: all that is in it is one link."""

from __future__ import annotations

import ctypes
import os
import stat
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

MNT_DETACH = 2
# linux/fuse.h: numbers of requests
LOOKUP, FORGET, GETATTR, READLINK, INIT, INTERRUPT, BATCH_FORGET = 1, 2, 3, 5, 26, 36, 42
PARALLEL = 1 << 18  # FUSE_PARALLEL_DIROPS: several names of a directory at a time
_libc = ctypes.CDLL(None, use_errno=True)


class LateFileSystem:
    """Mounted at a directory for everybody; `link` in it leads to `to`, and whatever else is asked for is not there."""

    def __init__(self, place: Path, to: str) -> None:
        """Mount it, answering at once."""
        self.place = place
        self.answering = threading.Event()
        self.answering.set()
        self.asked = threading.Semaphore(0)
        """Released for each name that is asked for."""
        self._to = to
        self._device = _opened(place.with_name("fuse"))
        options = f"fd={self._device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
        if _libc.mount(b"late", str(place).encode(), b"fuse", 0, options):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        """Answer all, and be gone: the kernel ends the connection."""
        self.answering.set()
        _libc.umount2(str(self.place).encode(), MNT_DETACH)
        self._thread.join()
        os.close(self._device)

    def _serve(self) -> None:
        waiting = []
        while True:
            try:
                request = os.read(self._device, 1 << 20)
            except OSError:  # unmounted
                break
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode == LOOKUP:
                self.asked.release()
                answer = threading.Thread(target=self._find, args=(unique, request[40:-1]))
                answer.start()
                waiting.append(answer)
            elif opcode not in {FORGET, INTERRUPT, BATCH_FORGET}:
                self._reply(unique, *self._answer(opcode, node))
        for each in waiting:
            each.join()

    def _find(self, unique: int, name: bytes) -> None:
        self.answering.wait()
        if name == b"link":
            self._reply(unique, 0, struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + _attributes(2))
        else:
            self._reply(unique, 2)

    def _answer(self, opcode: int, node: int) -> tuple[int, bytes]:
        if opcode == INIT:
            return 0, struct.pack("<IIIIHHIIHHIIII24x", 7, 31, 0, PARALLEL, 12, 9, 4096, 1, 0, 0, 0, 0, 0, 0)[
                :64
            ]
        if opcode == GETATTR:
            return 0, struct.pack("<QII", 1, 0, 0) + _attributes(node)
        if opcode == READLINK:
            return 0, self._to.encode()
        return 38, b""

    def _reply(self, unique: int, error: int, body: bytes = b"") -> None:
        try:
            os.write(self._device, struct.pack("<IiQ", 16 + len(body), -error, unique) + body)
        except OSError:  # nobody waits for it any more
            return


def _attributes(node: int) -> bytes:
    """Struct fuse_attr of the directory, which is node 1, or of the link."""
    mode = stat.S_IFDIR | 0o755 if node == 1 else stat.S_IFLNK | 0o777
    return struct.pack("<QQQQQQIIIIIIIIII", node, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0)


def _opened(node: Path) -> int:
    """The device of FUSE, also where nobody has made its node. Skips the test where the kernel has none."""
    try:
        os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(10, 229))
        return os.open(node, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        pytest.skip(f"a file system of a user's own needs the device of FUSE: {error}")
    finally:
        node.unlink(missing_ok=True)


@contextmanager
def late_file_system(place: Path, to: str) -> Iterator[LateFileSystem]:
    """One at `place`, which is made, with a link that leads to `to`."""
    place.mkdir()
    made = LateFileSystem(place, to)
    try:
        yield made
    finally:
        made.close()
        place.rmdir()
