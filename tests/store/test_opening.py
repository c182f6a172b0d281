"""Where state may be kept, and who may use it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from moorage.errors import Code, Refused
from moorage.store import (
    Commit,
    DropInterface,
    PutInterface,
    PutNetwork,
    Remember,
    Reserve,
    Store,
    Untrusted,
)
from moorage.store.schema import VERSION
from store.samples import (
    Clock,
    back_to_version_1,
    do,
    interface,
    mapping,
    network,
    open_store,
    refused,
    request,
)


def refusal(directory: Path) -> Refused:
    with pytest.raises(Refused) as caught:
        open_store(directory)
    assert str(directory) in caught.value.text
    return caught.value


def test_directory_is_made_private(tmp_path: Path) -> None:
    """A missing directory is made, and nobody else can read it or what is in it."""
    store = open_store(tmp_path / "var" / "state")
    assert (tmp_path / "var" / "state").stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o077 for path in (tmp_path / "var" / "state").iterdir()} == {0}
    store.close()


def test_state_is_there_after_closing(store: Store, state: Path) -> None:
    """A store opened again has what was committed, answers to requests included."""
    put = interface("web", 2, mapping(80), ipv6="fd00::2")
    key = request("1")
    store.commit([Commit((PutInterface(put), Remember("a", "0"), Reserve((80,))), key, b"reply")])
    store.close()
    store.close()
    again = open_store(state)
    assert again.forgotten == []
    assert again.interfaces() == [put]
    assert (again.sysctls(), again.reserved(), again.recall(key)) == ({"a": "0"}, {80}, b"reply")
    do(again, PutInterface(interface("db", 3, mapping(81))))
    assert again.last_port("tcp", 1, 65535) == 81
    again.close()


def test_former_boot_loses_its_interfaces(store: Store, state: Path) -> None:
    """After a boot networks and answers are kept; interfaces with all they held or left are gone, and told."""
    operations = (PutInterface(interface("b", 2, mapping(80))), PutInterface(interface("a", 3)))
    do(store, PutInterface(interface("c", 4)), DropInterface("c", time.time() + 600))
    store.commit([Commit((*operations, Remember("x", "0"), Reserve((80,))), request("1"), b"reply")])
    store.close()
    for forgotten in (["b", "a"], []):
        again = open_store(state, boot="second-boot")
        assert again.forgotten == forgotten
        assert again.networks() == [network()]
        assert again.interfaces() == again.addresses("net") == again.ports("tcp") == []
        assert again.quarantined("net") == []
        assert (again.sysctls(), again.reserved(), again.recall(request("1"))) == ({}, frozenset(), b"reply")
        again.close()


def test_second_agent_is_refused(store: Store, state: Path) -> None:
    """While an agent has the state another is refused with its pid, and the first goes on undisturbed."""
    error = refusal(state)
    assert error.code is Code.EXISTS
    assert f"pid {os.getpid()}" in error.text
    do(store, PutInterface(interface("web")))


def test_killed_agent_leaves_no_lock(state: Path) -> None:
    """The state of an agent that was killed can be opened at once."""
    program = (
        "import sys; from store.samples import *; "
        "store = open_store(Path(sys.argv[1])); print('up'); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-uc", program, str(state)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"up\n"
        assert f"pid {holder.pid}" in refusal(state).text
        holder.kill()
        holder.wait()
        open_store(state).close()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    """A directory of something else is refused, and nothing is added to it."""
    (tmp_path / "thesis.tex").touch()
    assert refusal(tmp_path).code is Code.INVALID
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_start_that_was_cut_short_is_ours(tmp_path: Path) -> None:
    """A directory with a lock and no database yet is one that an agent was killed in, and can be used."""
    (tmp_path / "lock").touch()
    (tmp_path / "moorage.db").touch()
    open_store(tmp_path).close()


def test_directory_others_may_write_is_refused(tmp_path: Path) -> None:
    """A directory that group or others may write is not trusted."""
    tmp_path.chmod(0o770)
    error = refusal(tmp_path)
    assert error.code is Code.DENIED
    assert "chmod go-w" in error.text


def test_directory_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that belongs to another uid is refused, naming both uids."""
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    error = refusal(tmp_path)
    assert error.code is Code.DENIED
    assert f"uid {tmp_path.stat().st_uid}" in error.text
    assert "uid 12345" in error.text


@pytest.mark.parametrize("make", [lambda path: path.touch(), lambda path: path.symlink_to("/nonexistent")])
def test_file_or_link_is_no_directory(tmp_path: Path, make: object) -> None:
    """A state directory that is a file or a link, dangling ones included, is refused."""
    make(tmp_path / "state")
    assert refusal(tmp_path / "state").code is Code.INVALID


def test_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """Where the system allows no directory the refusal says why."""
    (tmp_path / "file").touch()
    error = refusal(tmp_path / "file" / "state")
    assert error.code is Code.DENIED
    assert "not a directory" in error.text


@pytest.mark.parametrize("name", ["moorage.db", "moorage.db-wal", "moorage.db-journal", "ballast", "lock"])
@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_links_are_not_followed(tmp_path: Path, state: Path, name: str, link: str) -> None:
    """A file of ours that is a link to another is refused, and the other is as it was."""
    open_store(state).close()
    precious = tmp_path / "precious"
    precious.write_bytes(b"data")
    (state / name).unlink(missing_ok=True)
    getattr(state / name, link)(precious)
    error = refusal(state)
    assert error.code is Code.INVALID
    assert name in error.text
    assert precious.read_bytes() == b"data"


def change_header(state: Path, pragma: str) -> None:
    connection = sqlite3.connect(state / "moorage.db")
    connection.execute(f"PRAGMA {pragma}")
    connection.close()


def test_later_version_is_refused(store: Store, state: Path) -> None:
    """State written by a later moorage is refused as unsupported, and left as it is."""
    store.close()
    change_header(state, f"user_version = {VERSION + 1}")
    error = refusal(state)
    assert error.code is Code.UNSUPPORTED
    assert f"format {VERSION + 1}" in error.text
    change_header(state, f"user_version = {VERSION}")
    open_store(state).close()


def test_version_1_is_upgraded(state: Path) -> None:
    """What version 1 wrote is there: MACs that two have stay theirs, and addresses rest as long as they would."""
    clock = Clock()
    store = open_store(state, now=clock)
    twins = [replace(interface(name, last), mac="02:00:00:00:00:01") for name, last in (("a", 2), ("b", 3))]
    puts = [PutInterface(each, rebuilt=True) for each in (*twins, interface("gone", 9))]
    do(store, PutNetwork(network()), *puts, DropInterface("gone", clock.time + 600))
    store.close()
    back_to_version_1(state, clock.time)
    for _ in range(2):
        again = open_store(state, now=clock)
        assert again.interfaces() == twins
        ((address, until),) = again.quarantined("net")
        assert (address, until) == ("10.0.42.9", pytest.approx(clock.time + 600, abs=60))
        assert isinstance(refused(again, PutInterface(replace(twins[0], id="c", ip="10.0.42.4"))), Refused)
        again.close()


def test_damaged_record_of_version_1_is_found(store: Store, state: Path) -> None:
    """An upgrade ends at a record that is not what was written, and the database stays as it is."""
    do(store, PutInterface(interface("web")))
    store.close()
    back_to_version_1(state, 0.0)
    connection = sqlite3.connect(state / "moorage.db", isolation_level=None)
    connection.execute("UPDATE interfaces SET crc = 0")
    connection.close()
    for _ in range(2):
        assert isinstance(refusal(state), Untrusted)


def test_database_of_something_else_is_refused(store: Store, state: Path) -> None:
    """A database with another application id is not touched."""
    store.close()
    change_header(state, "application_id = 7")
    assert refusal(state).code is Code.INVALID


def test_database_that_another_program_reads_is_refused(store: Store, state: Path) -> None:
    """While somebody has the database open in a transaction the start is refused, saying so."""
    store.close()
    connection = sqlite3.connect(state / "moorage.db", isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    assert refusal(state).code is Code.EXISTS
    connection.close()
    open_store(state).close()


def test_erase_leaves_nothing(store: Store, state: Path) -> None:
    """Erasing removes every file and the directory, which may be used again afterwards."""
    do(store, PutNetwork(network("second", 7)), PutInterface(interface("web")))
    store.erase()
    assert not state.exists()
    again = open_store(state)
    assert again.networks() == []
    again.close()


def test_erase_keeps_what_is_not_ours(store: Store, state: Path) -> None:
    """A file that somebody put into the directory survives, and so does the directory."""
    (state / "notes").touch()
    store.erase()
    assert [path.name for path in state.iterdir()] == ["notes"]
