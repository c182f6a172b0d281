"""Where the agent listens, and where it refuses to."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from moorage.errors import Refused
from moorage.rpc.listener import UnixListener, remove_leftovers


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A path in a directory that nobody else writes to."""
    tmp_path.chmod(0o755)
    return tmp_path / "agent.sock"


@pytest.fixture
def listener(path: Path) -> Iterator[UnixListener]:
    """A listener at that path."""
    made = UnixListener(path)
    yield made
    if made._directory >= 0:
        made.close()


def can_connect(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
        return True


def test_the_socket_is_for_its_group(path: Path, listener: UnixListener) -> None:
    """The socket has mode 0660 whatever the umask, takes clients, and is gone after closing."""
    found = path.lstat()
    assert stat.S_ISSOCK(found.st_mode)
    assert stat.S_IMODE(found.st_mode) == 0o660
    assert can_connect(path)
    listener.close()
    assert not path.exists()


def test_the_umask_stays_as_it_was(path: Path) -> None:
    """Making the socket leaves the process's umask alone, and does not depend on it."""
    before = os.umask(0o077)
    try:
        UnixListener(path).close()
        assert os.umask(0o077) == 0o077
    finally:
        os.umask(before)


def test_the_directory_is_made(tmp_path: Path) -> None:
    """A directory that is missing is made, its parents too, and only its owner writes to it."""
    path = tmp_path / "a" / "b" / "agent.sock"
    listener = UnixListener(path)
    assert stat.S_IMODE(path.parent.stat().st_mode) & 0o022 == 0
    listener.close()


def test_a_stale_socket_is_replaced(path: Path) -> None:
    """A socket that a killed agent left is replaced by one that answers."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not can_connect(path)
    listener = UnixListener(path)
    assert can_connect(path)
    listener.close()


@pytest.mark.parametrize("kind", ["stream", "crowded", "datagram"])
def test_what_another_program_listens_at_is_left_alone(path: Path, kind: str) -> None:
    """It is named, and goes on taking clients, or datagrams, as before; once it has ended its path is taken."""
    sort = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
    with socket.socket(socket.AF_UNIX, sort) as other, ExitStack() as waiting:
        other.bind(str(path))
        if kind != "datagram":
            other.listen(9)
        if kind == "crowded":
            crowd(path, waiting)
        before = path.lstat()
        with pytest.raises(Refused, match="listens at") as refused:
            UnixListener(path)
        assert refused.value.code == "exists"
        assert (str(os.getpid()) in refused.value.text) is (kind == "stream")
        assert path.lstat() == before
    UnixListener(path).close()


def crowd(path: Path, waiting: ExitStack) -> None:
    """Have as many clients wait as there is room for."""
    while True:
        client = waiting.enter_context(
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        )
        try:
            client.connect(str(path))
        except BlockingIOError:
            return


def test_who_is_ending_is_waited_for(path: Path) -> None:
    """An agent that was killed gives its lock back a moment before its socket."""
    other = socket.socket(socket.AF_UNIX)
    other.bind(str(path))
    other.listen()
    ending = threading.Thread(target=lambda: other.accept() and other.close())  # it ends when it is looked at
    ending.start()
    UnixListener(path).close()
    ending.join()


def test_a_second_agent_is_refused(path: Path, listener: UnixListener) -> None:
    """While one listens another is refused, and the first still takes clients."""
    with pytest.raises(Refused, match="another agent listens") as refused:
        UnixListener(path)
    assert refused.value.code == "exists"
    assert can_connect(path)
    listener.close()
    UnixListener(path).close()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_is_left_alone(path: Path, kind: str) -> None:
    """Something else of that name is refused by name, and stays as it is."""
    target = path.parent / "target"
    target.write_text("precious")
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(target)
    before = path.lstat()
    with pytest.raises(Refused, match="no socket") as refused:
        UnixListener(path)
    assert refused.value.code == "invalid"
    assert path.lstat() == before
    assert target.read_text() == "precious"


def test_a_directory_that_others_write_to_is_refused(path: Path) -> None:
    """Where others could put a socket of theirs in place the agent does not listen, unless the directory is sticky."""
    path.parent.chmod(0o777)
    with pytest.raises(Refused, match="chmod go-w") as refused:
        UnixListener(path)
    assert refused.value.code == "denied"
    assert list(path.parent.iterdir()) == []
    path.parent.chmod(0o1777)
    UnixListener(path).close()


def test_a_long_path_can_be_bound(path: Path) -> None:
    """A path longer than the 107 bytes of a socket address is listened at all the same."""
    long = path.parent / ("d" * 100) / ("e" * 100) / "agent.sock"
    listener = UnixListener(long)
    descriptor = os.open(long.parent, os.O_PATH)
    assert can_connect(Path(f"/proc/self/fd/{descriptor}/agent.sock"))
    os.close(descriptor)
    listener.close()


def test_a_path_below_a_file_is_refused(path: Path) -> None:
    """A directory that cannot be made is a refusal that names the path."""
    path.write_text("")
    with pytest.raises(Refused, match=str(path)) as refused:
        UnixListener(path / "agent.sock")
    assert refused.value.code == "denied"


def test_closing_leaves_a_successor_alone(path: Path, listener: UnixListener) -> None:
    """A path that somebody replaced meanwhile is not removed at the end."""
    path.unlink()
    path.write_text("somebody else's")
    listener.close()
    assert path.read_text() == "somebody else's"


def test_nothing_stays_open(path: Path) -> None:
    """Neither a listener that was closed nor one that was refused leaves a descriptor open."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    listener = UnixListener(path)
    with pytest.raises(Refused):
        UnixListener(path)
    listener.close()
    path.write_text("")
    with pytest.raises(Refused):
        UnixListener(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_what_agents_left_is_removed(path: Path, listener: UnixListener) -> None:
    """The socket and the lock of an agent that is gone are removed; those of one that listens stay."""
    remove_leftovers(path)
    assert can_connect(path)
    listener.close(leave=True)
    remove_leftovers(path)
    assert list(path.parent.iterdir()) == []
    remove_leftovers(path.parent / "missing" / path.name)
    assert list(path.parent.iterdir()) == []


def test_a_lock_that_was_removed_is_not_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who locked a file that its last holder then removed locks the one that has the name."""
    real = os.open
    stale = iter([path.with_name(".stale")])

    def open_(name: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if name == f".{path.name}.lock":
            name = str(next(stale, name))
        return real(name, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr("moorage.rpc.listener.os.open", open_)
    first = UnixListener(path)
    with pytest.raises(Refused, match="another agent listens"):
        UnixListener(path)
    first.close()
