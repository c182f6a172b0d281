"""Whether a stranger could put something else in the place of what a path leads to."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from moorage import Refused
from moorage.errors import Code
from moorage.rpc.listener import UnixListener
from moorage.store import Store
from moorage.ways import stranger
from uids import must_be_root

MALLORY = 5000


def own(path: Path, uid: int = MALLORY) -> Path:
    """Give it to somebody."""
    os.chown(path, uid, uid, follow_symlinks=False)
    return path


def folder(path: Path, mode: int = 0o755) -> Path:
    """Make a folder with that mode."""
    path.mkdir()
    path.chmod(mode)
    return path


def of_mallory(tmp_path: Path) -> Path:
    return own(folder(tmp_path / "his")) / "ours"


def open_to_all(tmp_path: Path) -> Path:
    return folder(tmp_path / "his", 0o777) / "ours"


def his_link_where_all_may_write(tmp_path: Path) -> Path:
    folder(tmp_path / "target")
    link = folder(tmp_path / "tmp", 0o1777) / "his"
    link.symlink_to(tmp_path / "target")
    return own(link) / "ours"


def his_folder_behind_a_link_of_ours(tmp_path: Path) -> Path:
    own(folder(tmp_path / "his"))
    (tmp_path / "link").symlink_to("his")
    return tmp_path / "link" / "ours"


def above_a_folder_of_ours(tmp_path: Path) -> Path:
    folder(own(folder(tmp_path / "his")) / "sub")
    return tmp_path / "his" / "sub" / "ours"


BAD = [of_mallory, open_to_all, his_link_where_all_may_write, his_folder_behind_a_link_of_ours]
BAD.append(above_a_folder_of_ours)


@pytest.mark.parametrize("make", BAD)
def test_what_a_stranger_may_exchange_is_found(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """A folder or a link of his on the way, or a folder that all may write to, is named."""
    must_be_root()
    found = stranger(make(tmp_path))
    assert found is not None
    assert "his" in found


@pytest.mark.parametrize("make", BAD)
def test_neither_socket_nor_state_is_kept_there(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """The start is refused, whoever's folder the last one is, and nothing was made."""
    must_be_root()
    path = make(tmp_path)
    for attempt in (
        lambda: Store.open(path, "boot", lambda: 0.0),
        lambda: UnixListener(path / "agent.sock"),
    ):
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.code is Code.DENIED
        assert "his" in caught.value.text
        assert not path.exists()


def test_the_folder_of_a_socket_is_no_link_of_his(tmp_path: Path) -> None:
    """A link of his in the place of the last folder leads the socket nowhere."""
    must_be_root()
    path = his_link_where_all_may_write(tmp_path).parent
    with pytest.raises(Refused) as caught:
        UnixListener(path / "agent.sock")
    assert caught.value.code is Code.DENIED
    assert [*(tmp_path / "target").iterdir()] == []


@pytest.mark.parametrize("kind", ["file", "fifo", "link"])
def test_a_lock_of_his_keeps_no_agent_away(tmp_path: Path, kind: str) -> None:
    """Where all may write, a lock that he made and holds is removed, and what it leads to is left alone."""
    must_be_root()
    place = folder(tmp_path / "tmp", 0o1777)
    lock = place / ".agent.sock.lock"
    victim = tmp_path / "victim"
    victim.touch()
    if kind == "fifo":
        os.mkfifo(lock)
    elif kind == "link":
        lock.symlink_to(victim)
    else:
        lock.touch()
    own(lock)
    held = os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    listener = UnixListener(place / "agent.sock")
    assert lock.lstat().st_uid == 0
    assert victim.stat().st_uid == 0
    with pytest.raises(Refused, match="another agent listens"):
        UnixListener(place / "agent.sock")
    listener.close()
    os.close(held)


def test_what_is_safe_is_let_through(tmp_path: Path) -> None:
    """Folders and links of root and the agent's own, and one of the own in a place where all may write."""
    place = folder(folder(tmp_path / "tmp", 0o1777) / "ours")
    (tmp_path / "link").symlink_to(place)
    (tmp_path / "again").symlink_to("link/../ours/.")
    for path in (place / "new", tmp_path / "link" / "new" / "er", tmp_path / "again" / "new", Path("new")):
        assert stranger(path) is None


def test_a_working_directory_that_is_gone_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An absolute path does not lead by it."""
    gone = folder(tmp_path / "gone")
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert stranger(tmp_path / "new" / "er") is None
    monkeypatch.chdir(tmp_path)


def test_a_circle_is_no_way(tmp_path: Path) -> None:
    """Links that lead in a circle are left to whoever opens the path."""
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert stranger(tmp_path / "a" / "ours") is None
