"""Who asks, where it matters."""

from __future__ import annotations

from typing import NamedTuple


class Caller(NamedTuple):
    """A client whom the agent does not trust with everything: neither root nor its own user."""

    uid: int
    gid: int
    groups: frozenset[int] = frozenset()
    """Its other groups."""
