"""A laboratory for every test of links."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from host_links import HostLinks
from lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host, an outside, and containers on demand."""
    with Lab() as made:
        yield made


@pytest.fixture
def links(lab: Lab) -> Iterator[HostLinks]:
    """LinuxLinks in the lab's host."""
    made = HostLinks(lab)
    yield made
    made.stop()
