"""Files that are not what was written."""

from __future__ import annotations

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.store import Commit, Damaged, PutInterface, Remember, Reserve, Store, Untrusted
from moorage.store.records import (
    pack_interface,
    pack_network,
    seal,
    unpack_interface,
    unpack_network,
)
from moorage.values import PROXIES, SOURCES, Interface, Mapping, Network
from store.samples import do, interface, mapping, open_store, populate, request

optional_text = st.none() | st.text()
mappings = st.builds(
    Mapping,
    st.text(),
    st.text(),
    st.integers(0, 65535),
    st.integers(0, 65535),
    st.integers(1, 9),
    st.booleans(),
    st.sampled_from(SOURCES),
)
interfaces = st.builds(
    Interface,
    *[st.text()] * 3,
    st.integers(0, 32),
    *[st.text()] * 3,
    optional_text,
    st.none() | st.integers(0, 128),
    *[optional_text] * 3,
    st.lists(mappings, max_size=3).map(tuple),
    st.dictionaries(st.text(), st.text(), max_size=3),
    st.integers(0, 2**63),
)
networks = st.builds(
    Network,
    *[st.text()] * 4,
    optional_text,
    optional_text,
    st.booleans(),
    st.integers(68, 65535),
    st.booleans(),
    st.sampled_from(PROXIES),
)


@given(interfaces)
def test_interface_survives_packing(value: Interface) -> None:
    """Whatever an interface holds comes out as it went in."""
    assert unpack_interface(pack_interface(value)) == value


@given(networks)
def test_network_survives_packing(value: Network) -> None:
    """Whatever a network holds comes out as it went in."""
    assert unpack_network(pack_network(value)) == value


def test_keys_of_a_later_version_are_passed_over() -> None:
    """A body with keys that this version does not know is read without them, missing ones by default."""
    import msgpack

    body = msgpack.unpackb(pack_interface(interface("web", 2, mapping(80))))
    body["colour"] = body["ports"][0]["colour"] = "blue"
    del body["labels"], body["ports"][0]["count"]
    read = unpack_interface(msgpack.packb(body))
    assert (read.id, read.labels, read.ports) == ("web", {}, (mapping(80),))


def test_what_earlier_versions_knew_is_written_as_they_did() -> None:
    """A mapping without a source of its own is the same bytes as before there were any; one with it has it."""
    import msgpack

    plain, proxied = mapping(80), replace(mapping(81), source="proxy-v2")
    body = msgpack.unpackb(pack_interface(interface("web", 2, plain, proxied)))
    assert [each.get("source") for each in body["ports"]] == [None, "proxy-v2"]
    assert list(body["ports"][0]) == ["proto", "host_ip", "host_port", "container_port", "count", "dual"]


@given(st.binary(min_size=1), st.data())
def test_seal_finds_every_flipped_bit(body: bytes, data: st.DataObject) -> None:
    """One bit that differs gives another checksum."""
    bit = data.draw(st.integers(0, len(body) * 8 - 1))
    flipped = bytearray(body)
    flipped[bit // 8] ^= 1 << bit % 8
    assert seal("id", bytes(flipped)) != seal("id", body)


CHANGES = [
    (
        "UPDATE interfaces SET body = CAST(replace(CAST(body AS TEXT), '10.0.42.2', '10.0.42.7') AS BLOB)",
        "id0",
    ),
    ("UPDATE interfaces SET id = 'other' WHERE id = 'id0'", "other"),
    ("UPDATE networks SET body = x'80'", "network net"),
    ("UPDATE sysctls SET value = '9'", "sysctl path"),
    ("UPDATE reserved SET port = 81", "reserved port 81"),
    ("UPDATE addresses SET id = 'id0'", "addresses"),
    ("UPDATE addresses SET address = '10.0.42.9' WHERE id = 'id0'", "addresses"),
    ("UPDATE macs SET mac = '02:00:00:00:00:09' WHERE id = 'id0'", "macs"),
    ("UPDATE ports SET port = 9 WHERE id = 'id0'", "ports"),
    ("UPDATE requests SET reply = x'00'", "request '1'"),
    ("UPDATE meta SET value = 'another boot 1' WHERE key = 'boot'", "the boot"),
    ("PRAGMA application_id = 7", "header"),
    ("DELETE FROM ports WHERE id = 'id0'", "ports"),
]


@pytest.mark.parametrize(("change", "word"), CHANGES)
def test_changed_row_is_found_at_start(state: Path, change: str, word: str) -> None:
    """A row that is not what was written ends the start, naming it and what to do."""
    store = open_store(state)
    populate(store, 3)
    do(store, Remember("path", "0"), Reserve((80,)))
    store.commit([Commit((), request("1"), b"reply")])
    store.close()
    connection = sqlite3.connect(state / "moorage.db", isolation_level=None)
    assert connection.execute(change).rowcount != 0
    connection.close()
    with pytest.raises(Refused) as caught:
        open_store(state)
    assert isinstance(caught.value, Untrusted)
    assert caught.value.code is Code.INVALID
    assert word in caught.value.text
    assert "put back a copy" in caught.value.text


def test_changed_answer_is_not_given(store: Store) -> None:
    """An answer that is not what was written is a fault, and not given."""
    store.commit([Commit((), request("1"), b"reply")])
    store._connection.execute("UPDATE requests SET reply = x'00'")
    with pytest.raises(Damaged, match="request '1'"):
        store.recall(request("1"))
    (outcome,) = store.commit([Commit((PutInterface(interface("web")),), request("1"))])
    assert isinstance(outcome, Damaged)
    assert store.interfaces() == []


def flip(path: Path, offset: int) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 0x40]))


def test_flipped_bits_change_nothing_unseen(state: Path) -> None:
    """With one bit of the file flipped, the store is refused or holds exactly what was committed."""
    store = open_store(state)
    made = populate(store, 20)
    store.close()
    database = state / "moorage.db"
    refused = 0
    for offset in range(40, database.stat().st_size, 311):
        flip(database, offset)
        try:
            again = open_store(state)
        except Refused:
            refused += 1
        else:
            assert again.interfaces() == made
            again.close()
        if (state / "moorage.db-wal").exists():
            (state / "moorage.db-wal").unlink()
        flip(database, offset)
    assert refused > 0
