"""A disk that is full."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.errors import Code, Refused
from moorage.model.interfaces import mac_of
from moorage.store import Commit, Done, DropInterface, DropNetwork, PutInterface, PutNetwork, Store
from moorage.store.ballast import SIZE
from moorage.store.schema import VERSION
from store.samples import BOOT, back_to_version_1, do, interface, mapping, network, open_store, request

pytestmark = pytest.mark.system


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MB of its own."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", "--lazy", tmp_path], check=True)


def allocation(n: int) -> Commit:
    address = f"10.{n >> 8}.{n & 255}.2"
    put = PutInterface(replace(interface(f"id{n}"), ip=address, mac=mac_of(address)))
    return Commit((put,), request(f"a{n}"), b"reply" * 40)


def release(n: int) -> Commit:
    return Commit((DropInterface(f"id{n}"),), request(f"r{n}", "release"), b"reply")


def fill_with_files(disk: Path) -> Path:
    """Leave no free byte on the disk."""
    filler = disk / "lost+found"
    with contextlib.suppress(OSError), filler.open("ab", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    assert os.statvfs(disk).f_bavail == 0
    return filler


def fill_with_records(store: Store, start: int = 0) -> int:
    """Allocate number `start` and on until the disk is full; gives the first number that was refused."""
    n = start
    while isinstance(outcome := store.commit([allocation(n)])[0], Done):
        n += 1
    assert isinstance(outcome, Refused)
    assert outcome.code is Code.NO_SPACE
    return n


def test_everything_can_be_released_from_a_full_disk(disk: Path) -> None:
    """With the disk full of records nothing new is taken, all is given back, and then there is room again."""
    store = open_store(disk)
    do(store, PutNetwork(network()))
    count = fill_with_records(store)
    assert count > 100
    fill_with_files(disk)
    outcomes = store.commit([release(n) for n in range(count)])
    assert outcomes == [Done((True,))] * count
    assert store.interfaces() == []
    (disk / "lost+found").unlink()
    assert isinstance(store.commit([allocation(count + 1)])[0], Done)
    assert (disk / "ballast").stat().st_blocks * 512 == SIZE
    store.close()


def test_batch_of_both_kinds_gives_back(disk: Path) -> None:
    """In one batch on a full disk releases are done and allocations refused, each for itself."""
    store = open_store(disk)
    do(store, PutNetwork(network()))
    store.commit([allocation(n) for n in range(200)])
    fill_with_files(disk)
    last = fill_with_records(store, 1000)
    outcomes = store.commit([allocation(9000), release(1), allocation(9001), release(last)])
    kinds = [outcome.code if isinstance(outcome, Refused) else outcome for outcome in outcomes]
    assert kinds == [Code.NO_SPACE, Done((True,)), Code.NO_SPACE, Done((False,))]
    assert store.interface("id1") is store.interface("id9000") is store.recall(request("a9000")) is None
    store.close()


def test_room_for_releases_outlives_a_restart(disk: Path) -> None:
    """An agent started on a full disk takes nothing new and gives back what there is, also after a boot."""
    store = open_store(disk)
    do(store, PutNetwork(network()))
    count = fill_with_records(store)
    store.close()
    fill_with_files(disk)
    again = open_store(disk)
    assert isinstance(again.commit([allocation(count)])[0], Refused)
    assert again.commit([release(0)]) == [Done((True,))]
    again.close()
    booted = open_store(disk, boot="second-boot")
    assert len(booted.forgotten) == count - 1
    assert booted.commit([Commit((DropNetwork("net"),))]) == [Done((True,))]
    booted.close()


@pytest.mark.parametrize("version", [VERSION, 1])
def test_a_disk_that_others_filled_stops_no_start(disk: Path, version: int) -> None:
    """A database of this version or an earlier one on a full disk is opened, with all there was, and gives back."""
    store = open_store(disk)
    do(store, PutNetwork(network()))
    store.commit([allocation(n) for n in range(100)])
    made = store.interfaces()
    store.close()
    if version == 1:
        back_to_version_1(disk, 0.0)
    fill_with_files(disk)
    again = open_store(disk)
    assert again.interfaces() == made
    assert again.commit([release(0)]) == [Done((True,))]
    again.close()


def test_first_start_on_a_full_disk_is_refused(disk: Path) -> None:
    """A new store that finds no room says so, and can be opened when there is some."""
    filler = fill_with_files(disk)
    with pytest.raises(Refused) as caught:
        open_store(disk, BOOT)
    assert caught.value.code is Code.NO_SPACE
    filler.unlink()
    store = open_store(disk)
    do(store, PutNetwork(network()), PutInterface(interface("web", 2, mapping(80))))
    store.close()


def test_read_only_disk_is_refused(disk: Path) -> None:
    """A directory on a read-only file system is refused as denied."""
    open_store(disk).close()
    subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=True)
    with pytest.raises(Refused) as caught:
        open_store(disk)
    assert caught.value.code is Code.DENIED
    assert "read-only" in caught.value.text


@contextlib.contextmanager
def no_file_larger_than(size: int) -> Iterator[None]:
    """As `LimitFSIZE` of a unit, or `ulimit -f`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("reason", "says"), [("limit", "may grow past"), ("quota", "quota")])
def test_a_file_that_may_not_grow_is_a_lack_of_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str, says: str
) -> None:
    """At a limit of a file's size, or a quota, as on a full disk: refused, named, undone; done once it is gone."""
    store = open_store(tmp_path / "state")
    do(store, PutNetwork(network()))
    if reason == "quota":  # SQLite says the same of both; there is no quota to be had here
        monkeypatch.setattr(os, "posix_fallocate", over_quota)
    done, refusals = [], []
    with no_file_larger_than((tmp_path / "state" / "moorage.db").stat().st_size + (1 << 19)):
        for n in range(6000):
            outcome = store.commit([allocation(n)])[0]
            if isinstance(outcome, Done):
                done.append(f"id{n}")
            else:
                refusals.append(outcome)
            if len(refusals) == 3:
                break
        assert {each.id for each in store.interfaces()} == set(done)
    for refusal in refusals:
        assert isinstance(refusal, Refused), refusal
        assert refusal.code is Code.NO_SPACE
        assert says in refusal.text
        assert str(tmp_path) in refusal.text
    assert len(refusals) == 3
    monkeypatch.undo()
    assert isinstance(store.commit([allocation(9999)])[0], Done)
    store.close()
    again = open_store(tmp_path / "state")
    assert {each.id for each in again.interfaces()} == {*done, "id9999"}
    again.close()


def over_quota(*_: object) -> None:
    raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))
