"""Whether a stranger could put something else in the place of what a path leads to."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def quicker(monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], object]) -> None:
    """He makes something wherever something is about to be made."""
    mkdir = Path.mkdir

    def late(path: Path, *args: Any, **kwargs: Any) -> None:
        if not os.path.lexists(path) and path.parent.name == "tmp":
            monkeypatch.undo()
            make(path)
            own(path)
        mkdir(path, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", late)


@pytest.mark.parametrize("deep", ["", "run"])
@pytest.mark.parametrize("kind", ["folder", "link"])
def test_who_is_quicker_gains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, deep: str
) -> None:
    """A folder or a link of his that comes where one is being made is found before anything is made in it."""
    must_be_root()
    target, place = folder(tmp_path / "target"), folder(tmp_path / "tmp", 0o1777) / "his" / deep
    make = folder if kind == "folder" else lambda path: path.symlink_to(target)
    for attempt in (
        lambda: Store.open(place / "state", "boot", lambda: 0.0),
        lambda: UnixListener(place / "agent.sock"),
    ):
        quicker(monkeypatch, make)
        with pytest.raises(Refused) as caught:
            attempt()
        assert caught.value.code is Code.DENIED
        his = tmp_path / "tmp" / "his"
        assert f"{his} belongs to uid {MALLORY}" in caught.value.text
        assert [*his.iterdir()] == []
        his.unlink() if his.is_symlink() else his.rmdir()


def test_what_was_exchanged_as_it_was_opened_is_not_listened_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where another folder has the name than the one that was opened, the agent does not listen."""
    must_be_root()
    place, opened = folder(tmp_path / "place"), os.open

    def late(path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        found = opened(path, flags, *args, **kwargs)
        if path == place:
            place.rename(tmp_path / "former")
            place.mkdir()
        return found

    monkeypatch.setattr(os, "open", late)
    with pytest.raises(Refused, match="exchanged just now"):
        UnixListener(place / "agent.sock")
    assert [*place.iterdir(), *(tmp_path / "former").iterdir()] == []


@pytest.mark.parametrize("kind", ["file", "folder", "link", "socket", "listening"])
@pytest.mark.parametrize("name", ["agent.sock", ".agent.sock.lock"])
def test_what_he_put_there_keeps_no_agent_away(tmp_path: Path, kind: str, name: str) -> None:
    """Where all may write, whatever of his is in the place of the socket or of its lock is put away."""
    must_be_root()
    place = folder(tmp_path / "tmp", 0o1777)
    with socket.socket(socket.AF_UNIX) as sock:
        if kind == "folder":
            folder(place / name)
            (place / name / "something").touch()
        elif kind == "link":
            (place / name).symlink_to(tmp_path)
        elif kind == "file":
            (place / name).touch()
        else:
            sock.bind(str(place / name))
            if kind == "listening":
                sock.listen()
        own(place / name)
        listener = UnixListener(place / "agent.sock")
        assert (place / "agent.sock").lstat().st_uid == 0
        kept = [each.name for each in place.iterdir() if (each / "something").exists()]
        assert len(kept) == (kind == "folder")
        listener.close(forget=True)
        assert [each.name for each in place.iterdir()] == kept


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


def test_what_was_made_and_is_not_there_was_taken_away(tmp_path: Path) -> None:
    """Before it is made nobody has it; afterwards somebody has exchanged it meanwhile."""
    assert stranger(tmp_path / "new" / "er") is None
    assert f"{tmp_path / 'new'} cannot be looked at" in (stranger(tmp_path / "new" / "er", made=True) or "")


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
