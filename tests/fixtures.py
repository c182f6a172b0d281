"""Fixtures of several packages of tests, whose conftest.py imports them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cgroups import Cgroup, own_cgroup, why_not
from lab import Lab


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A host, an outside, and containers on demand."""
    with Lab() as made:
        yield made


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    """A cgroup of the test's own, which this process is in; skipped where the kernel runs no programs for it."""
    if reason := why_not():
        pytest.skip(reason)
    with own_cgroup() as made:
        yield made
