"""The log that a killed agent leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from moorage.store import PutInterface, Untrusted
from store.samples import do, interface, open_store, populate

FRAME, HEADER = 4120, 32


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A state as a killed agent leaves it: the last commits are in the log alone."""
    store = open_store(tmp_path / "running")
    populate(store, 5)
    for number in range(5):
        do(store, PutInterface(interface(f"late{number}", 100 + number)))
    shutil.copytree(tmp_path / "running", tmp_path / "killed")
    store.close()
    return tmp_path / "killed"


def frames(log: Path) -> int:
    return (log.stat().st_size - HEADER) // FRAME


def flip(log: Path, at: int) -> None:
    data = bytearray(log.read_bytes())
    data[at] ^= 0x10
    log.write_bytes(data)


def test_an_intact_log_is_taken(killed: Path) -> None:
    """What is in the log alone is there, also when it ends in the middle of a frame."""
    log = killed / "moorage.db-wal"
    log.write_bytes(log.read_bytes() + b"half a frame")
    store = open_store(killed)
    assert len(store.interfaces()) == 10
    store.close()


@pytest.mark.parametrize("where", [0, 20, HEADER + 4, HEADER + 20, HEADER + 100, HEADER + 3 * FRAME + 2000])
def test_commits_after_damage_are_not_lost_unseen(killed: Path, where: int) -> None:
    """A flipped bit in the log's header, or in a frame with commits after it, is found."""
    log = killed / "moorage.db-wal"
    assert frames(log) > 5
    flip(log, where)
    with pytest.raises(Untrusted, match="its log"):
        open_store(killed)
