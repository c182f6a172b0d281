"""What stops traffic and is no link's: told from what the kernel says, which no namespace can change."""

from __future__ import annotations

import pytest

from moorage.kernel.linux import hindrances


@pytest.mark.parametrize(
    ("count", "named"), [("0", False), ("94999", False), ("95000", True), ("100000", True)]
)
def test_a_table_of_connections_that_fills_up_is_named(
    monkeypatch: pytest.MonkeyPatch, count: str, named: bool
) -> None:
    """A table that is nearly full is named before it loses connections; a kernel without one is no trouble."""
    told = {"net/netfilter/nf_conntrack_count": count, "net/netfilter/nf_conntrack_max": "100000"}
    monkeypatch.setattr(hindrances, "read", told.get)
    assert ["room for 100000 connections" in each for each in hindrances.hindrances((), (), ())] == [
        True
    ] * named
    monkeypatch.setattr(hindrances, "read", lambda _path: None)
    assert hindrances.hindrances((), (), ()) == []
