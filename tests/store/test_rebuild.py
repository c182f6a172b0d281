"""A damaged database: what is intact in it is saved, the rest is put aside and never served."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.errors import Refused
from moorage.store import Commit, Remember, Reserve, Store, Untrusted, finish_rebuild, rebuild
from moorage.store.rebuild import KEPT
from moorage.values import Interface
from store.samples import BOOT, do, interface, mapping, network, open_store, populate, request

PAGE = 4096
COUNT = 60


def now() -> float:
    return 1_000_000.0


def mended(state: Path, *found: Interface) -> Store:
    """The store after a rebuild, with what the kernel shows."""
    rebuild(state, BOOT, now, [network()], found)
    return open_store(state)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed state with a network, 60 interfaces, requests, a sysctl and a reserved port."""
    state = tmp_path_factory.mktemp("sample") / "state"
    store = open_store(state)
    populate(store, COUNT)
    do(store, Remember("net/ipv4/ip_forward", "0"), Reserve((50000,)))
    store.commit([Commit((), request(f"r{n}"), b"answer %d" % n) for n in range(50)])
    store.close()
    return state


@pytest.fixture
def copy(sample: Path, tmp_path: Path) -> Path:
    """A copy of that state, to be damaged."""
    return shutil.copytree(sample, tmp_path / "state")


def all_interfaces() -> list[Interface]:
    return [interface(f"id{n}", 2 + n, mapping(8000 + n)) for n in range(COUNT)]


def zero_page(database: Path, page: int) -> None:
    with database.open("r+b") as file:
        file.seek(page * PAGE)
        file.write(bytes(PAGE))


def truncate(database: Path) -> None:
    with database.open("r+b") as file:
        file.truncate(database.stat().st_size // 2)


def damage_row(database: Path) -> None:
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("UPDATE interfaces SET body = x'00' WHERE id = 'id7'")
    connection.close()


def damage_statement(database: Path) -> None:
    """SQLite quotes it when it refuses the file, and what it quotes is no text any more."""
    database.write_bytes(database.read_bytes().replace(b"CREATE TABLE meta", b"CREATE \x80ABLE meta"))


DAMAGES: dict[str, Callable[[Path], object]] = {
    "a row": damage_row,
    "a statement": damage_statement,
    "zeroed header": lambda database: zero_page(database, 0),
    "zeroed page": lambda database: zero_page(database, 2),
    "truncated": truncate,
    "emptied": lambda database: database.write_bytes(b""),
    "removed": lambda database: database.unlink(),
    "text": lambda database: database.write_bytes(b"this is no database\n" * 999),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_damage_is_found_put_aside_and_mended(copy: Path, how: str) -> None:
    """A damaged database is refused; after a rebuild all that the kernel shows is there, and the file is kept."""
    database = copy / "moorage.db"
    DAMAGES[how](database)
    damaged = database.read_bytes() if database.exists() else None
    with pytest.raises(Untrusted):
        open_store(copy)
    done = rebuild(copy, BOOT, now, [network()], all_interfaces())
    assert done.left_out == ()
    assert done.aside.exists() == (damaged is not None)
    store = open_store(copy)
    assert sorted(store.interfaces(), key=lambda i: i.id) == sorted(all_interfaces(), key=lambda i: i.id)
    assert store.networks() == [network()]
    store.close()
    open_store(copy).close()


def test_intact_rows_are_taken_over(copy: Path) -> None:
    """With one row damaged only that is lost: requests, sysctls, reserved ports and labels of all others stay."""
    damage_row(copy / "moorage.db")
    store = mended(copy)
    assert {each.id for each in store.interfaces()} == {f"id{n}" for n in range(COUNT)} - {"id7"}
    assert store.interface("id8") == interface("id8", 10, mapping(8008))
    assert store.recall(request("r49")) == b"answer 49"
    assert store.sysctls() == {"net/ipv4/ip_forward": "0"}
    assert store.reserved() == {50000}
    store.close()


def test_a_row_counts_more_than_the_kernel(copy: Path) -> None:
    """What is recorded is as recorded, whatever the kernel shows; whose address is taken is left out and named."""
    damage_row(copy / "moorage.db")
    other = interface("id8", 200)
    clash = interface("clash", 11)
    done = rebuild(copy, BOOT, now, [network()], [other, clash, interface("id7", 9)])
    assert done.found == ("interface id7",)
    assert len(done.left_out) == 1
    assert "id9" in done.left_out[0]
    store = open_store(copy)
    assert store.interface("id8") == interface("id8", 10, mapping(8008))
    assert store.interface("clash") is None
    store.close()


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_an_interrupted_rebuild_is_finished(
    copy: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    """Interrupted at any of its renames a rebuild is finished, or begun again, with the same outcome."""
    damage_row(copy / "moorage.db")
    left = renames

    class Interrupted(Exception):
        """The power went."""

    def counted(rename: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def renaming(path: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                raise Interrupted
            return rename(path, target)

        return renaming

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", counted(Path.rename))
        patched.setattr(Path, "replace", counted(Path.replace))
        with pytest.raises(Interrupted):
            rebuild(copy, BOOT, now, [network()], [])
    finish_rebuild(copy)
    if renames == 0:
        rebuild(copy, BOOT, now, [network()], [])
    store = open_store(copy)
    assert len(store.interfaces()) == COUNT - 1
    store.close()
    assert {path.name for path in copy.iterdir() if not path.name.startswith("damaged-")} == {
        *("moorage.db", "ballast", "lock")
    }


def test_few_damaged_databases_are_kept(copy: Path) -> None:
    """A disk that damages again and again is not filled with what was put aside."""
    for _ in range(KEPT + 2):
        damage_row(copy / "moorage.db")
        mended(copy, interface("id7", 9)).close()
    assert len(list(copy.glob("damaged-*.db"))) == KEPT


def test_what_was_put_aside_goes_with_the_rest(copy: Path) -> None:
    """Erasing a state leaves nothing of what was ever made in it."""
    damage_row(copy / "moorage.db")
    store = mended(copy)
    store.erase()
    assert not copy.exists()


@settings(max_examples=60)
@given(st.data())
def test_any_damage_is_found_or_changes_nothing(sample: Path, data: st.DataObject) -> None:
    """Bytes overwritten anywhere, or the end cut off: refused or as it was; after a rebuild nothing is made up."""
    state = sample.parent / "damaged"
    shutil.rmtree(state, ignore_errors=True)
    shutil.copytree(sample, state)
    database = state / "moorage.db"
    content = bytearray(database.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + 64] = data.draw(st.binary(min_size=1, max_size=64))
    database.write_bytes(content[: data.draw(st.integers(0, len(content)) | st.just(len(content)))])
    made = {each.id: each for each in all_interfaces()}
    try:
        store = open_store(state)
    except Refused as refusal:
        if not isinstance(refusal, Untrusted):
            return
        store = mended(state)
        assert all(made[each.id] == each for each in store.interfaces())
    else:
        assert {each.id: each for each in store.interfaces()} == made
    store.close()
