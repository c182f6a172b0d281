"""Fixtures of several packages of tests, whose conftest.py imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host, an outside, and containers on demand."""
    with Lab() as made:
        yield made
