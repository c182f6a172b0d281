"""Answers in pieces."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.model.pieces import Piece, whole
from moorage.rpc.answers import PIECE, Packed, Series, pieces, plain, remembered, weigh
from moorage.rpc.codec import Response
from moorage.rpc.wire import interface_to_wire
from moorage.values import Interface, Mapping

WEB = Interface("web", "default", "10.0.42.2", 24, "10.0.42.1", "02:42:0a:00:2a:02", "2026-01-01T00:00:00Z")
MAPPING = Mapping("tcp", "0.0.0.0", 8080, 80, 1, dual=True)  # noqa: S104 - a value


def published(count: int) -> Interface:
    ports = tuple(replace(MAPPING, host_port=1 + number) for number in range(count))
    return replace(WEB, ports=ports, labels={"a": "b"})


ANSWERS: list[tuple[Any, Any]] = [
    (None, None),
    ({"released": True}, {"released": True}),
    ([1, 2], [1, 2]),
    (Packed(msgpack.packb({"a": 1})), {"a": 1}),
    (WEB, interface_to_wire(WEB)),
    (published(3), interface_to_wire(published(3))),
    (Series([]), []),
    (Series([1, 2, 3], str), ["1", "2", "3"]),
    (Packed((msgpack.packb({"a": 1})[:2], Piece(msgpack.packb({"a": 1})[2:]))), {"a": 1}),
    (published(500), interface_to_wire(published(500))),
    (Series([WEB, published(2)]), [interface_to_wire(WEB), interface_to_wire(published(2))]),
]


@pytest.mark.parametrize(("answer", "value"), ANSWERS)
def test_an_answer_is_what_it_tells(answer: Any, value: Any) -> None:
    """In pieces, packed whole, or in this process, it is the same value."""
    made = b"".join(pieces(Response(7, None, answer)))
    assert msgpack.unpackb(made) == [1, 7, None, value]
    assert msgpack.unpackb(whole(remembered(answer))) == value
    assert plain(answer) == value


@given(st.integers(0, 3000))
def test_pieces_are_small(count: int) -> None:
    """However many ports and members, no piece is much longer than it should be, and all together are the answer."""
    answer = Series([published(count), WEB, published(7)])
    made = list(pieces(Response(7, None, answer)))
    assert all(len(piece) < 2 * PIECE for piece in made)
    assert msgpack.unpackb(b"".join(made))[3] == plain(answer)


def test_pieces_are_made_as_they_are_wanted() -> None:
    """No member is made before its turn."""
    made: list[int] = []

    def note(number: int) -> str:
        made.append(number)
        return "x" * 1000

    answer = pieces(Response(7, None, Series(range(1000), note)))
    next(answer)
    assert len(made) < 100


def test_what_waits_weighs_little() -> None:
    """An answer weighs what it holds itself, not what it refers to."""
    assert weigh(Series([published(1000)] * 10)) < 1000
    assert weigh(published(1000)) < 10_000
    assert weigh(Packed(bytes(5000))) > 5000


def test_what_two_answers_have_in_common_is_in_the_same_pieces() -> None:
    """A port more, one less in the middle, or another place: nearly all pieces are those of the answer before."""
    before = published(5000)
    changed = [
        published(5001),
        replace(before, ports=before.ports[:2000] + before.ports[2001:]),
        replace(before, netns="/run/netns/web", ifname="eth0"),
    ]
    pieces_of = [
        {part for part in remembered(each) if isinstance(part, Piece)} for each in (before, *changed)
    ]
    assert len(pieces_of[0]) > 40
    for each in pieces_of[1:]:
        assert len(each - pieces_of[0]) <= 2
