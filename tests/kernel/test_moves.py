"""Addresses that come and go faster than they can be followed."""

from __future__ import annotations

from typing import cast

import pytest

from moorage.kernel.linux.conntrack import Conntrack
from moorage.kernel.linux.local import Local
from moorage.kernel.linux.sweeper import Moves

A, B, C = (Local(frozenset({f"192.0.2.{number}"})) for number in range(3))
WEB, OTHER = frozenset({"10.0.42.2"}), frozenset({"10.0.42.3"})


class Table:
    """A table of connections that notes what was followed, and lets more come meanwhile."""

    def __init__(self, moves: Moves) -> None:
        self.followed: list[tuple[Local, Local, frozenset[str]]] = []
        self._moves = moves

    def follow(self, gone: Local, come: Local, backends: frozenset[str]) -> None:
        self.followed.append((gone, come, backends))
        if len(self.followed) == 1:
            assert self._moves.join(C, Local(), OTHER)


@pytest.mark.parametrize("again", [1, 5])
def test_what_comes_meanwhile_is_one_walk_more(again: int) -> None:
    """One walk follows all that waits, and another one all that came while it was under way."""
    moves = Moves()
    table = Table(moves)
    assert moves.join(A, Local(), WEB)
    for _ in range(again):
        assert not moves.join(Local(), B, OTHER)
    for _ in range(3):
        moves.end(cast("Conntrack", table))
    assert table.followed == [(A, B, OTHER), (C, Local(), OTHER)]
