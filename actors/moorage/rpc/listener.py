"""The agent's own socket: bound in a directory that nobody else writes, and given back."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import socket
import stat
import struct
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.log import Log
from moorage.rpc.access import grant
from moorage.ways import make, stranger

BACKLOG = 512
"""Clients that may wait to be accepted."""
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
"""Seconds between looks at a process that may be ending. Few: each has it accept a client."""
PEER = struct.Struct("=iII")
"""struct ucred of unix(7): process, user, group."""

log = Log()


class UnixListener:
    """A listening Unix socket of mode 0660, with a lock beside it so that one agent at a time has the path."""

    def __init__(
        self,
        path: Path,
        adopt: Callable[[str], socket.socket | None] = lambda _name: None,
        *,
        waiting: bool = False,
    ) -> None:
        """Bind and listen, replacing a socket that a dead agent left; or take what `adopt` has for `name`.

        Nobody can connect to one that is `waiting` until `listen`.
        Raises Refused: exists while another agent listens there; denied where the directory cannot be used or
        others may write to it; invalid where something that is no socket has the name.
        """
        self._path = path
        try:
            self._directory = _open_directory(path.parent)
        except OSError as error:
            raise _unusable(path, error) from error
        self._lock, self._lock_is_new = -1, False
        try:
            self._lock = self._acquire()
            adopted = self._adopted(adopt)
            self.socket = adopted or self._bind()
        except OSError as error:
            self._give_back(forget=self._lock_is_new)
            raise _unusable(path, error) from error
        except BaseException:
            self._give_back(forget=self._lock_is_new)
            raise
        self._is_ours = adopted is None
        if not waiting:
            self.listen()
        found = self._stat()
        self._inode = found.st_ino
        self.name = _name(found)
        """What the socket is known by to an agent that takes it over: the path may lead to another's."""

    def listen(self) -> None:
        """Let clients connect. A second time is no error."""
        self.socket.listen(BACKLOG)

    def admit(self, uids: Collection[int], gids: Collection[int]) -> None:
        """Let these users and groups connect, where the file system can; a log line says where it cannot."""
        try:
            grant(f"/proc/self/fd/{self._directory}/{self._path.name}", uids, gids)
        except OSError as error:
            log.warning("socket_not_shared", socket=str(self._path), reason=error.strerror)

    def close(self, *, leave: bool = False, forget: bool = False) -> None:
        """Stop listening, and remove the path unless it is left to a successor or somebody replaced it.

        `forget` removes the lock beside it too.
        """
        self.socket.close()
        try:
            if not leave and self._stat().st_ino == self._inode:
                os.unlink(self._path.name, dir_fd=self._directory)
        except FileNotFoundError:
            pass
        self._give_back(forget=forget)

    def give_up(self) -> None:
        """Leave all as it was before, an adopted socket where it is."""
        self.close(leave=not self._is_ours, forget=self._lock_is_new)

    @property
    def _lock_name(self) -> str:
        return f".{self._path.name}.lock"

    def _acquire(self) -> int:
        while True:
            lock = self._open_lock()
            if self._leads_to(lock):
                return lock
            os.close(lock)

    def _leads_to(self, lock: int) -> bool:
        """Whether the name is still that of the file that was locked: its last holder may have removed it."""
        try:
            named = os.stat(self._lock_name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return os.path.samestat(os.fstat(lock), named)

    def _remove_others_lock(self) -> None:
        """In a sticky directory anybody may make a file of that name, and hold it; ours nobody else can open."""
        with suppress(FileNotFoundError):
            found = os.stat(self._lock_name, dir_fd=self._directory, follow_symlinks=False)
            if found.st_uid != os.geteuid():
                self._put_away(self._lock_name, found)

    def _open_lock(self) -> int:
        self._remove_others_lock()
        self._lock_is_new = not self._is_there(self._lock_name)
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(self._lock_name, flags, 0o600, dir_fd=self._directory)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            self._lock_is_new = False
            raise Refused(
                Code.EXISTS,
                f"another agent listens on {self._path}: stop that one first, or give this one another socket",
            ) from None
        return lock

    def _adopted(self, adopt: Callable[[str], socket.socket | None]) -> socket.socket | None:
        try:
            return adopt(_name(self._stat()))
        except FileNotFoundError:
            return None

    def _bind(self) -> socket.socket:
        self._remove_stale()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        former = os.umask(0o117)
        try:
            # through the opened directory: no link on the way is followed, and the path may be long
            sock.bind(f"/proc/self/fd/{self._directory}/{self._path.name}")
        except BaseException:
            sock.close()
            raise
        finally:
            os.umask(former)
        return sock

    def _remove_stale(self) -> None:
        try:
            found = self._stat()
        except FileNotFoundError:
            return
        if self._is_squatted(found):
            log.warning("socket_place_taken", socket=str(self._path), uid=found.st_uid)
            self._put_away(self._path.name, found)
            return
        if not stat.S_ISSOCK(found.st_mode):
            raise Refused(
                Code.INVALID, f"{self._path} is there and is no socket: remove it, or name another path"
            )
        self._refuse_living()
        os.unlink(self._path.name, dir_fd=self._directory)

    def _is_squatted(self, found: os.stat_result) -> bool:
        """Whether a stranger put it there, where anybody may: it keeps nobody from the place, whatever it is."""
        shared = os.fstat(self._directory).st_mode & stat.S_IWOTH
        return bool(shared) and found.st_uid not in {0, os.geteuid()}

    def _put_away(self, name: str, found: os.stat_result) -> None:
        """Remove it; a folder, with whatever may be in it, gets another name."""
        if stat.S_ISDIR(found.st_mode):
            aside = f"{name}.{found.st_uid}.{secrets.token_hex(4)}"
            os.rename(name, aside, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        else:
            os.unlink(name, dir_fd=self._directory)

    def _refuse_living(self) -> None:
        """What somebody else listens at is not ours to remove. Who is just ending gives his lock back first."""
        for pause in PAUSES:
            if (pid := self._listening()) is None:
                return
            time.sleep(pause)
        who = f"process {pid}" if pid else "another program"
        text = f"{who} listens at {self._path}: stop it first, or give this agent another socket"
        raise Refused(Code.EXISTS, text)

    def _listening(self) -> int | None:
        """The process that listens there, 0 where it is not told; None where nobody does."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as caller:
            try:
                caller.connect(f"/proc/self/fd/{self._directory}/{self._path.name}")
            except (ConnectionRefusedError, FileNotFoundError):
                return None
            except BlockingIOError:  # so many wait there that there is no room for another
                return 0
            except OSError as error:
                if error.errno == errno.EPROTOTYPE:  # it is no socket of streams
                    return 0
                raise
            pid: int = PEER.unpack(caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, PEER.size))[0]
            return pid

    def _stat(self) -> os.stat_result:
        return os.stat(self._path.name, dir_fd=self._directory, follow_symlinks=False)

    def _is_there(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _give_back(self, *, forget: bool = False) -> None:
        if forget and self._lock >= 0:
            with suppress(FileNotFoundError):
                os.unlink(self._lock_name, dir_fd=self._directory)
        for descriptor in (self._lock, self._directory):
            if descriptor >= 0:
                os.close(descriptor)
        self._lock = self._directory = -1


def remove_leftovers(path: Path) -> None:
    """Remove the socket and the lock of agents that are gone, unless one listens there, or the place is not ours."""
    if path.parent.is_dir():
        with suppress(Refused):
            UnixListener(path).close(forget=True)


def _name(found: os.stat_result) -> str:
    return f"gateway-{found.st_dev}-{found.st_ino}"


def _open_directory(path: Path) -> int:
    if (whose := stranger(path / "socket") or make(path, 0o755)) is not None:
        raise _shared(path, whose)
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _check_directory(path, os.fstat(directory))
    except BaseException:
        os.close(directory)
        raise
    return directory


def _check_directory(path: Path, found: os.stat_result) -> None:
    if (found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX) or found.st_uid not in {0, os.geteuid()}:
        raise Refused(
            Code.DENIED,
            f"others may write to {path}, and could put their own socket in place: "
            "run chmod go-w on it, or name another path",
        )
    # after it was opened: until it was ours or root's, another may have been in its place
    if (whose := stranger(path / "socket", made=True)) is not None:
        raise _shared(path, whose)
    if not os.path.samestat(found, path.stat()):
        raise _shared(path, "it was exchanged just now: see whose the folders on the way to it are")


def _shared(path: Path, whose: str) -> Refused:
    text = f"others could put their own socket in place in {path}, as {whose}, or name another path"
    return Refused(Code.DENIED, text)


def _unusable(path: Path, error: OSError) -> Refused:
    reason = (error.strerror or str(error)).lower()
    return Refused(
        Code.DENIED, f"the agent cannot listen on {path}: {reason}: name another path with --socket"
    )
