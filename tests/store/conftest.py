"""A store for a test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.store import Commit, PutNetwork, Store
from store.samples import network, open_store


@pytest.fixture
def store(state: Path) -> Iterator[Store]:
    """An open store with one network, `net`."""
    opened = open_store(state)
    opened.commit([Commit((PutNetwork(network()),))])
    yield opened
    opened.close()
