"""The door at which a successor asks."""

from __future__ import annotations

import fcntl
import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.handover import Door

FAR = 2000
"""A descriptor beyond what select(2) takes."""


@pytest.fixture
def far() -> Iterator[int]:
    """A descriptor with a high number, readable at once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2 * FAR), hard))
    reader, writer = os.pipe()
    os.write(writer, b".")
    descriptor = fcntl.fcntl(reader, fcntl.F_DUPFD_CLOEXEC, FAR)
    yield descriptor
    for each in (reader, writer, descriptor):
        os.close(each)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_door_waits_beside_thousands_of_descriptors(tmp_path: Path, far: int) -> None:
    """An agent with more than a thousand listeners goes on waiting for a successor."""
    with Door(tmp_path) as door:
        assert door.wait(far, 60.0) is None
