"""Requests as they are remembered: whose they are, what they take, and that each is kept once."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.errors import Code, Refused
from moorage.model.pieces import Piece, Reply
from moorage.store import (
    Already,
    Commit,
    Damaged,
    Done,
    DropInterface,
    DropNetwork,
    ForgetRequest,
    PutInterface,
    PutNetwork,
    RequestKey,
    Store,
    Untrusted,
    rebuild,
)
from moorage.store import requests as module
from moorage.store.records import seal
from store.samples import BOOT, Clock, do, interface, network, open_store

ROOT, ALICE, BOB = 0, 1000, 1001
HOUR = 3600.0


def key(name: str, uid: int = ROOT, digest: bytes = b"digest") -> RequestKey:
    return RequestKey(name, "publish", digest, uid)


def great(number: int, count: int = 40) -> tuple[bytes | Piece, ...]:
    """An answer of 40 pieces, of which one is its own."""
    return b"head", *(Piece(bytes([n]) * 4000) for n in range(count)), Piece(b"%d" % number * 1000), b"tail"


def used(store: Store) -> Counter[int]:
    return store._requests.used


def size(store: Store) -> int:
    ((pages,),) = store._rows("PRAGMA page_count")
    return int(pages) * 4096


def test_a_string_is_its_uids(store: Store) -> None:
    """Two uids may use one string for two requests, and neither is given the other's answer."""
    (first, second) = store.commit(
        [Commit((), key("1", ALICE), b"alices"), Commit((), key("1", BOB, b"other"), b"bobs")]
    )
    assert (first, second) == (Done(), Done())
    assert store.recall(key("1", ALICE)) == b"alices"
    assert store.recall(key("1", BOB, b"other")) == b"bobs"
    assert store.recall(key("1", ROOT)) is None
    do(store, ForgetRequest("1", ALICE))
    assert store.recall(key("1", ALICE)) is None
    assert store.recall(key("1", BOB, b"other")) == b"bobs"


def test_an_answer_of_many_parts_is_given_whole(store: Store) -> None:
    """It is what was remembered, in this life and the next, and a repetition of its request gets it."""
    assert store.commit([Commit((), key("1"), great(1))]) == [Done()]
    assert store.recall(key("1")) == great(1)
    assert store.commit([Commit((), key("1"), b"other")]) == [Already(great(1))]


def test_what_answers_have_in_common_is_kept_once(store: Store) -> None:
    """A hundred answers of 160 KB that differ in a kilobyte take less than half a megabyte."""
    before = size(store)
    for number in range(100):
        store.commit([Commit((), key(f"{number}"), great(number))])
    assert size(store) - before < 500_000
    assert used(store)[ROOT] < 500_000
    for number in range(100):
        assert store.recall(key(f"{number}")) == great(number)


def test_waiting_answers_share_their_pieces(store: Store) -> None:
    """However often an answer is recalled before it is sent, its pieces are in memory once."""
    store.commit([Commit((), key("1"), great(1)), Commit((), key("2"), great(2))])
    answers = [store.recall(key("1")), store.recall(key("1")), store.recall(key("2"))]
    bodies = [{id(part.body) for part in each if isinstance(part, Piece)} for each in answers if each]
    assert bodies[0] == bodies[1]
    assert len(bodies[2] - bodies[0]) == 1


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that are soon reached: some 40 small answers for a uid."""
    monkeypatch.setattr(module, "EACH", 8_000)
    monkeypatch.setattr(module, "ALL_TRUSTED", 16_000)


def fill(store: Store, uid: int, reply: Reply = b"reply") -> int:
    """Ask until it is refused as `limit`; how many were done."""
    for number in range(1000):
        makes = PutNetwork(network(name := f"n{number}", 50 + number % 200))
        (outcome,) = store.commit([Commit((makes,), key(f"f{uid:04}-{number:03}", uid), reply)])
        if isinstance(outcome, Refused):
            assert outcome.code is Code.LIMIT, outcome
            assert store.network(name) is None
            return number
        do(store, DropNetwork(name))
    pytest.fail("never refused")


@pytest.mark.usefixtures("small")
def test_what_is_remembered_for_a_uid_is_bounded(store: Store) -> None:
    """Past its bound a uid is refused `limit` and nothing is done; others are not, and what was answered still is."""
    done = fill(store, ALICE)
    assert 20 < done < 60
    assert store.recall(key("f1000-000", ALICE)) == b"reply"
    assert store.commit([Commit((), key("f1000-000", ALICE), b"again")]) == [Already(b"reply")]
    assert isinstance(store.commit([Commit((PutNetwork(network("free", 40)),))])[0], Done)
    assert fill(store, BOB) == done
    assert fill(store, ROOT) > 1.5 * done


@pytest.mark.usefixtures("small")
def test_what_gives_back_is_remembered_a_little_longer(store: Store) -> None:
    """A release with a string is done past the bound, for as long as there is what is set aside for that."""
    do(store, PutInterface(interface("a")))
    fill(store, ALICE)
    assert store.commit([Commit((DropInterface("a"),), key("r", ALICE), b"released")]) == [Done((True,))]
    outcomes = [
        store.commit([Commit((DropInterface("a"),), key(f"r{number}", ALICE), b"released")])[0]
        for number in range(50)
    ]
    assert isinstance(outcomes[-1], Refused)
    assert outcomes[-1].code is Code.LIMIT


@pytest.mark.usefixtures("small")
def test_a_refused_request_takes_nothing(store: Store) -> None:
    """However often it is tried: only what was done is remembered."""
    before = used(store)[ALICE]
    for number in range(200):
        (outcome,) = store.commit(
            [Commit((PutNetwork(network()),), key(f"{number}", ALICE), great(number, 1))]
        )
        assert isinstance(outcome, Refused)
        assert outcome.code is Code.EXISTS
    assert used(store)[ALICE] == before
    assert store._rows("SELECT count(*) FROM pieces") == [(0,)]


@pytest.mark.usefixtures("small")
def test_the_bound_holds_after_a_restart_and_ends_with_the_day(state: Path) -> None:
    """The next life knows what is remembered; once a day has passed there is room again, and not before."""
    clock = Clock()
    store = open_store(state, now=clock)
    done = fill(store, ALICE, great(1, 1))
    counted = +used(store)
    store.close()
    store = open_store(state, now=clock)
    assert used(store) == counted
    for minutes in (23 * 60, 4 * 60):
        for _ in range(minutes):
            clock.time += 60.0
            do(store)
        (outcome,) = store.commit([Commit((), key("late", ALICE), b"x" * 3000)])
        assert isinstance(outcome, Done) == (minutes == 4 * 60)
    assert store.recall(key("f1000-000", ALICE)) is None
    assert used(store)[ALICE] < 4000
    assert store._rows("SELECT count(*) FROM pieces") == [(0,)]
    assert done
    store.close()


STEPS = st.lists(
    st.tuples(
        st.sampled_from([ROOT, ALICE]),
        st.integers(0, 9),
        st.sampled_from(["small", "great", "forget", "refuse", "reopen"]),
    ),
    max_size=30,
)


@given(STEPS)
@settings(max_examples=40)
def test_what_is_counted_is_what_there_is(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int, str]]
) -> None:
    """After any history the count is what a fresh one finds, and pieces are there as often as they are used."""
    state = tmp_path_factory.mktemp("requests") / "state"
    store = open_store(state)
    do(store, PutNetwork(network()))
    known: dict[tuple[int, int], Reply] = {}
    for uid, number, step in steps:
        name = f"{number}"
        reply: Reply = great(number % 3, 2) if step == "great" else b"small"
        if step in {"small", "great"}:
            store.commit([Commit((), key(name, uid), reply)])
            known.setdefault((uid, number), reply)
        elif step == "forget":
            assert do(store, ForgetRequest(name, uid)) == ((uid, number) in known,)
            known.pop((uid, number), None)
        elif step == "refuse":
            store.commit([Commit((PutNetwork(network()),), key(f"no{number}", uid), great(number, 3))])
        else:
            store.close()
            store = open_store(state)
        before = +used(store)
        store._requests.verify()
        assert used(store) == before
    for (uid, number), reply in known.items():
        assert store.recall(key(f"{number}", uid)) == reply
    store.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE pieces SET body = x'00' WHERE id = 3",
        "UPDATE pieces SET uses = 2 WHERE id = 3",
        "DELETE FROM pieces WHERE id = 3",
        "UPDATE requests SET uid = 7",
        "UPDATE requests SET shape = 1",
    ],
)
def test_a_damaged_piece_is_found_at_the_start(state: Path, damage: str) -> None:
    """A piece that is other than it was written, or counted wrongly, or gone, and a request of another, is damage."""
    with closing(open_store(state)) as store:
        store.commit([Commit((), key("1"), great(1))])
    with closing(sqlite3.connect(state / "moorage.db", isolation_level=None)) as raw:
        raw.execute(damage)
    with pytest.raises(Untrusted):
        open_store(state)


def test_a_rebuild_keeps_what_is_whole(state: Path) -> None:
    """Of the requests of a damaged database those are answered whose every piece is intact."""
    with closing(open_store(state)) as store:
        for number in range(3):
            store.commit([Commit((), key(f"{number}", ALICE), great(number))])
        store.commit([Commit((), key("small", BOB), b"reply")])
        own = store._rows("SELECT max(id) FROM pieces")[0][0]  # which the last of them has alone
    with closing(sqlite3.connect(state / "moorage.db", isolation_level=None)) as raw:
        raw.execute("UPDATE pieces SET body = x'00' WHERE id = ?", (own,))
    rebuild(state, BOOT, Clock(), [], [])
    with closing(open_store(state)) as store:
        assert store.recall(key("0", ALICE)) == great(0)
        assert store.recall(key("1", ALICE)) == great(1)
        assert store.recall(key("2", ALICE)) is None
        assert store.recall(key("small", BOB)) == b"reply"


def test_a_damaged_piece_is_not_served(store: Store) -> None:
    """Damage that is found when an answer is recalled is raised."""
    store.commit([Commit((), key("1"), great(1))])
    store._connection.execute("UPDATE pieces SET body = x'00' WHERE id = 3")
    with pytest.raises(Damaged):
        store.recall(key("1"))


def test_an_earlier_version_knew_no_uids(state: Path) -> None:
    """What it remembered is answered to whoever repeats it, and counts for nobody."""
    with closing(open_store(state)) as store:
        do(store, PutNetwork(network()))
    with closing(sqlite3.connect(state / "moorage.db", isolation_level=None)) as raw:
        raw.executescript(
            """
            BEGIN;
            DROP TABLE pieces; DROP TABLE requests;
            CREATE TABLE requests(
                seq INTEGER PRIMARY KEY, request TEXT NOT NULL UNIQUE, method TEXT NOT NULL, digest BLOB NOT NULL,
                reply BLOB NOT NULL, time REAL NOT NULL, crc INTEGER NOT NULL
            );
            PRAGMA user_version = 4;
            COMMIT;
            """
        )
        row = ("1", "publish", b"digest", b"reply")
        raw.execute(
            "INSERT INTO requests(request, method, digest, reply, time, crc) VALUES(?, ?, ?, ?, 0.0, ?)",
            (*row, seal(*row)),
        )
    with closing(Store.open(state, BOOT, Clock())) as store:
        for uid in (ROOT, ALICE):
            assert store.recall(key("1", uid)) == b"reply"
            assert store.commit([Commit((), key("1", uid), b"again")]) == [Already(b"reply")]
        with pytest.raises(Refused):
            store.recall(key("1", ALICE, b"other"))
        assert used(store)[ALICE] == used(store)[ROOT] == 0
        store.commit([Commit((), key("2", ALICE), great(2))])
        assert store.recall(key("2", ALICE)) == great(2)
        assert store.recall(key("2", ROOT)) is None
