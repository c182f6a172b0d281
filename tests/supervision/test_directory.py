"""The directory of names."""

from __future__ import annotations

from typing import Any

from moorage.supervision.directory import Directory


def test_actors_come_after_their_parents() -> None:
    """Whatever the order of being entered, each actor comes after its parent, and siblings in that order."""
    directory = Directory()
    ref: Any = object()
    directory.enter("ip:default", ref, "allocators", "worker")
    directory.enter("journal", ref, "root", "worker")
    directory.enter("allocators", ref, "root", "supervisor")
    directory.enter("root", ref, None, "supervisor")
    assert [entry.name for entry in directory.entries()] == ["root", "journal", "allocators", "ip:default"]
