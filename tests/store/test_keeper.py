"""A state whose files others remove, replace, cut or hide while an agent has them open."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from moorage.errors import Fault, Refused
from moorage.store import Commit, Done, DropInterface, Keeper, PutInterface, PutNetwork, lock_directory
from moorage.store.guard import LOG
from moorage.store.lock import Lock
from moorage.store.mounts import Place
from store.samples import interface, mapping, network, open_store, populate, request

DATABASE = "moorage.db"


class Kept:
    """A keeper of a state in a directory, as an agent has one."""

    def __init__(self, state: Path) -> None:
        self.state = state
        self.lock = lock_directory(state)
        self.meanwhile: Callable[[], object] | None = None
        """What somebody does once the files were opened, and nobody watches them yet."""
        self.keeper = Keeper(state, self.lock)
        self.open()
        self.number = 1
        self.put(PutNetwork(network()))

    def open(self) -> None:
        def opened() -> object:
            store = open_store(self.state, lock=self.lock)
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile:
                meanwhile()
            return store

        self.keeper.open(opened, opened)  # type: ignore[arg-type]  # a Store, as the keeper has it

    def put(self, *operations: object) -> object:
        """Commit these with a request of their own; what became of it."""
        key = request(f"r{self.number}")
        (outcome,) = self.keeper.commit([Commit(operations, key, b"a%d" % self.number)])  # type: ignore[arg-type]
        if isinstance(outcome, Done):
            self.number += 1
        return outcome

    def add(self) -> object:
        """Put another interface."""
        number = self.number
        return self.put(PutInterface(interface(f"id{number}", number, mapping(8000 + number))))

    def end(self) -> None:
        """As a kill ends it: nothing is written any more."""
        self.keeper._guard.close()  # type: ignore[union-attr]  # it has one
        self.keeper._guard = None
        self.lock.release()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """Three interfaces, each recorded with an answer."""
    made = Kept(tmp_path / "state")
    for _ in range(3):
        assert isinstance(made.add(), Done)
    yield made
    made.keeper.close()
    made.lock.release()


def after_a_kill(kept: Kept, tmp_path: Path) -> tuple[set[str], int]:
    """The interfaces that another process would find now, and how many answers it remembers."""
    copy = tmp_path / "after"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir(mode=0o700)
    for path in kept.state.glob(f"{DATABASE}*"):
        shutil.copy(path, copy)
    with closing(open_store(copy)) as store:
        answers = [n for n in range(1, kept.number + 1) if store.recall(request(f"r{n}")) == b"a%d" % n]
        return {each.id for each in store.interfaces()}, len(answers)


def another(tmp_path: Path) -> Path:
    """A state of somebody else's."""
    other = tmp_path / "other"
    if not other.exists():
        with closing(open_store(other)) as store:
            populate(store, 5)
    return other


REPLACING = ("rm -rf", "rm", "mv", "mv of the file", "mv, mkdir", "mv over it", "another in its place")


def overwrite(path: Path, data: bytes) -> None:
    with path.open("r+b") as file:
        file.write(data)


TAMPERING: dict[str, Callable[[Path, Path], object]] = {
    "rm -rf": lambda state, _: shutil.rmtree(state),
    "rm": lambda state, _: (state / DATABASE).unlink(),
    "rm of the log": lambda state, _: (state / LOG).unlink(),
    "rm of all": lambda state, _: [each.unlink() for each in state.iterdir()],
    "mv": lambda state, tmp: state.rename(tmp / f"moved-{time.monotonic_ns()}"),
    "mv of the file": lambda state, tmp: (state / DATABASE).rename(state / f"{DATABASE}.old"),
    "mv, mkdir": lambda state, tmp: (state.rename(tmp / f"moved-{time.monotonic_ns()}"), state.mkdir(0o700)),
    "truncate": lambda state, _: os.truncate(state / DATABASE, 0),
    "truncate to a half": lambda state, _: os.truncate(state / DATABASE, 8192),
    "truncate of the log": lambda state, _: os.truncate(state / LOG, 0),
    "truncate of the log to a half": lambda state, _: os.truncate(state / LOG, 5000),
    "truncate by a program": lambda state, _: subprocess.run(
        ["truncate", "-s0", state / DATABASE], check=True
    ),
    "cp over it": lambda state, tmp: shutil.copyfile(another(tmp) / DATABASE, state / DATABASE),
    "cp over the log": lambda state, tmp: shutil.copyfile(another(tmp) / DATABASE, state / LOG),
    "cp -r over it": lambda state, tmp: shutil.copytree(another(tmp), state, dirs_exist_ok=True),
    "mv over it": lambda state, tmp: shutil.copyfile(another(tmp) / DATABASE, state / "x").replace(
        state / DATABASE
    ),
    "another in its place": lambda state, tmp: (shutil.rmtree(state), shutil.copytree(another(tmp), state)),
    "a bit": lambda state, _: overwrite(state / DATABASE, b"moorage"),
}


@pytest.mark.parametrize("how", TAMPERING)
def test_it_is_whole_again_before_the_next_answer(kept: Kept, tmp_path: Path, how: str) -> None:
    """Whatever was done to the files, the next commit is durable with all that were before, and their answers."""
    TAMPERING[how](kept.state, tmp_path)
    assert isinstance(kept.add(), Done)
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)
    TAMPERING[how](kept.state, tmp_path)
    assert kept.keeper.look() is None
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)
    assert isinstance(kept.put(DropInterface("id2")), Done)
    assert after_a_kill(kept, tmp_path) == ({"id3", "id4", "id5"}, 6)
    with pytest.raises(Refused, match="in use"):
        Lock(kept.state / "lock")


@pytest.mark.parametrize("how", REPLACING)
def test_files_replaced_while_they_are_opened(kept: Kept, tmp_path: Path, how: str) -> None:
    """What takes the place of files that were just opened, at a later life or when written anew, is not believed."""
    kept.keeper.close()
    kept.meanwhile = lambda: TAMPERING[how](kept.state, tmp_path)
    kept.open()
    assert isinstance(kept.add(), Done)
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)
    (kept.state / DATABASE).unlink()
    kept.meanwhile = lambda: TAMPERING[how](kept.state, tmp_path)
    assert kept.keeper.look() is None
    assert kept.keeper.look() is None
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)
    assert isinstance(kept.add(), Done)
    assert after_a_kill(kept, tmp_path)[1] == 6


MOMENTS = ["begins", "is applied", "is committed", "is copied"]


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("how", TAMPERING)
def test_at_each_moment_of_a_commit(
    kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, moment: str
) -> None:
    """A commit that was under way is done and durable, or failed and leaves no trace; what was before is there."""
    store, done = kept.keeper.store, []

    def tamper() -> None:
        if not done:
            done.append(how)
            TAMPERING[how](kept.state, tmp_path)

    def wrap(owner: object, name: str, *, before: bool) -> None:
        original = getattr(owner, name)

        def wrapped(*args: object) -> object:
            if before:
                tamper()
            result = original(*args)
            if not before:
                tamper()
            return result

        monkeypatch.setattr(owner, name, wrapped)

    another(tmp_path)
    owner, name, before = {
        "begins": (store, "commit", True),
        "is applied": (store, "_apply_all", False),
        "is committed": (store, "commit", False),
        "is copied": (kept.keeper._copy, "follow", False),
    }[moment]
    wrap(owner, name, before=before)
    outcome = kept.add()
    assert done
    if isinstance(outcome, Done):
        assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)
    else:
        assert isinstance(outcome, Fault)
        assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4"}, 4)
        assert isinstance(kept.add(), Done)
    assert after_a_kill(kept, tmp_path)[1] == 5


def test_between_two_lives_of_the_journal(kept: Kept, tmp_path: Path) -> None:
    """What is done to it while an actor restarts is found by the next one."""
    for how, tamper in TAMPERING.items():
        kept.keeper.close()
        with suppress(FileNotFoundError):  # a log, which is closed
            tamper(kept.state, tmp_path)
        (kept.state / f"{DATABASE}.old").unlink(missing_ok=True)  # alone, it is no state
        kept.open()
        assert {each.id for each in kept.keeper.store.interfaces()} == {"id2", "id3", "id4"}, how


def test_as_it_ends(kept: Kept, tmp_path: Path) -> None:
    """An agent that is stopped leaves what it has recorded."""
    shutil.rmtree(kept.state)
    kept.keeper.close()
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4"}, 4)


def test_what_others_put_there_is_kept(kept: Kept, tmp_path: Path) -> None:
    """Somebody else's database is put aside as it was, not thrown away."""
    shutil.copyfile(another(tmp_path) / DATABASE, kept.state / DATABASE)
    kept.keeper.look()
    (aside,) = kept.state.glob("damaged-*.db")
    assert aside.read_bytes() == (another(tmp_path) / DATABASE).read_bytes()


def test_who_reads_disturbs_nobody(kept: Kept) -> None:
    """A copy that is made of it, as for a backup, changes nothing; who has it open for longer keeps what he has."""
    before = (kept.state / DATABASE).stat().st_ino
    (kept.state / DATABASE).read_bytes()
    assert kept.keeper.look() is None
    assert (kept.state / DATABASE).stat().st_ino == before
    with (kept.state / DATABASE).open("rb"):
        assert isinstance(kept.add(), Done)
    assert list(kept.state.glob("damaged-*")) == []


def test_a_copy_is_not_disturbed(kept: Kept) -> None:
    """While somebody copies the files and nothing is recorded they stay where they are, however often one looks."""
    before = {path.name: path.stat().st_ino for path in kept.state.glob(f"{DATABASE}*")}
    with (kept.state / DATABASE).open("rb"), (kept.state / LOG).open("rb"):
        for _ in range(3):
            kept.keeper.tend()
            assert kept.keeper.look() is None
    assert {path.name: path.stat().st_ino for path in kept.state.glob(f"{DATABASE}*")} == before


def test_a_refusal_is_one(kept: Kept, tmp_path: Path) -> None:
    """A commit that is refused changes nothing of what is written anew later."""
    refused = kept.put(PutInterface(interface("thief", 2)))
    assert isinstance(refused, Refused)
    shutil.rmtree(kept.state)
    assert isinstance(kept.add(), Done)
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)


def test_without_notices(kept: Kept, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel has no room for another watch, sizes and times of the files tell."""
    kept.keeper._guard._notices.close()  # type: ignore[union-attr]  # it has one
    for tamper in TAMPERING.values():
        tamper(kept.state, tmp_path)
        assert kept.keeper.look() is None
        assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4"}, 4)
        kept.keeper._guard._notices.close()  # type: ignore[union-attr]  # it has another


def test_what_cannot_be_written_anew_is_said(kept: Kept, tmp_path: Path) -> None:
    """Where something else is in its place changes are refused and questions answered, until it can."""
    shutil.rmtree(kept.state)
    kept.state.write_text("mine")
    refused = kept.add()
    assert isinstance(refused, Refused)
    assert refused.code == "unavailable"
    assert str(kept.state) in refused.text
    assert [each.id for each in kept.keeper.reader.interfaces()] == ["id2", "id3", "id4"]
    assert kept.keeper.reader.recall(request("r2")) == b"a2"
    kept.state.unlink()
    assert isinstance(kept.add(), Done)
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3", "id4", "id5"}, 5)


def mounted(kind: list[str], at: Path) -> None:
    subprocess.run(["mount", *kind, at], check=True)


HIDING = {
    "the folder": lambda state: (["-t", "tmpfs", "none"], state),
    "a folder above": lambda state: (["-t", "tmpfs", "none"], state.parent),
    "by a folder of the same file system": lambda state: (["--bind", "/run"], state),
    "the file": lambda state: (["--bind", "/proc/self/status"], state / DATABASE),
}


@pytest.mark.system
@pytest.mark.parametrize("what", HIDING)
def test_what_is_hidden_is_waited_for(tmp_path: Path, what: str) -> None:
    """Under another file system nothing is changed and nothing written there; when it is gone all goes on."""
    below = tmp_path / "below"
    below.mkdir()
    kept = Kept(below / "state")
    assert isinstance(kept.add(), Done)
    how, where = HIDING[what](kept.state)
    mounted(how, where)
    before = sorted(where.iterdir()) if where.is_dir() else None
    try:
        for _ in range(2):
            refused = kept.add()
            assert isinstance(refused, Refused)
            assert refused.code == "unavailable"
            assert str(kept.state) in refused.text
        kept.keeper.tend()
        assert [each.id for each in kept.keeper.reader.interfaces()] == ["id2"]
        assert before is None or sorted(where.iterdir()) == before
    finally:
        subprocess.run(["umount", where], check=True)
    inode = (kept.state / DATABASE).stat().st_ino
    assert isinstance(kept.add(), Done)
    assert (kept.state / DATABASE).stat().st_ino == inode
    assert after_a_kill(kept, tmp_path) == ({"id2", "id3"}, 3)
    kept.keeper.close()
    kept.lock.release()


@pytest.mark.system
def test_a_file_system_that_is_read_only(tmp_path: Path) -> None:
    """A start is refused there, and says so. While one runs the kernel makes none read-only whose files are open."""
    place = tmp_path / "place"
    place.mkdir()
    mounted(["-t", "tmpfs", "none"], place)
    try:
        kept = Kept(place / "state")
        assert isinstance(kept.add(), Done)
        kept.keeper.close()
        kept.lock.release()
        # With its source named no option is carried over: a user's file system has owners that a user cannot name.
        subprocess.run(["mount", "-o", "remount,ro", "none", place], check=True)
        with pytest.raises(Refused) as refused:
            lock_directory(kept.state)
        assert refused.value.code == "denied"
        assert str(kept.state) in refused.value.text
        subprocess.run(["mount", "-o", "remount,rw", "none", place], check=True)
        kept = Kept(kept.state)
        assert [each.id for each in kept.keeper.store.interfaces()] == ["id2"]
        kept.keeper.close()
        kept.lock.release()
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_file_system_that_became_read_only(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a fault of the disk leaves one: what fails is refused as not done, and the directory named."""
    monkeypatch.setattr(Place, "is_read_only", property(lambda _place: True))
    monkeypatch.setattr(kept.keeper.store, "commit", lambda batch: [Fault("disk I/O error") for _ in batch])
    refused = kept.add()
    assert isinstance(refused, Refused)
    assert refused.code == "unavailable"
    assert "read-only" in refused.text
    assert str(kept.state) in refused.text


def test_a_large_state_costs_a_bounded_copy(tmp_path: Path) -> None:
    """Beyond some megabytes the copy is in a file without a name."""
    kept = Kept(tmp_path / "state")
    blob = os.urandom(100_000)
    for number in range(300):
        kept.keeper.commit([Commit((), request(f"big{number}"), blob)])
    links = [str(each.readlink()) for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    assert any("(deleted)" in link for link in links)
    shutil.rmtree(kept.state)
    assert isinstance(kept.add(), Done)
    with closing(sqlite3.connect(f"file:{kept.state / DATABASE}?mode=ro&immutable=1", uri=True)) as read:
        assert read.execute("SELECT count(*) FROM requests").fetchone()[0] >= 300
    kept.keeper.close()
    kept.lock.release()
