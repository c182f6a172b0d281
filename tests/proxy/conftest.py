"""A running data plane for every test that wants one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from moorage.proxy.plane import DataPlane
from proxy.harness import Harness


@pytest.fixture
def make_harness() -> Iterator[Callable[..., Harness]]:
    """A harness over a data plane made with the given settings."""
    with ExitStack() as stack:

        def make(**settings: Any) -> Harness:
            plane = DataPlane(**settings)
            stack.callback(plane.close)
            plane.start()
            harness = Harness(plane)
            stack.callback(harness.close)
            return harness

        yield make


@pytest.fixture
def harness(make_harness: Callable[..., Harness]) -> Harness:
    """A harness over a data plane as it ships."""
    return make_harness()
