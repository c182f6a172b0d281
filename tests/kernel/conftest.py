"""What tests of the kernel work on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from firewall_stand import Stand, stand
from fixtures import cgroup, lab
from host_links import HostLinks
from lab import Lab

__all__ = ["at", "cgroup", "lab", "links"]


@pytest.fixture
def at(lab: Lab) -> Iterator[Stand]:
    """A firewall in the lab's host, before a bridge with containers."""
    made = stand(lab)
    yield made
    made.firewall.close()


@pytest.fixture
def links(lab: Lab) -> Iterator[HostLinks]:
    """LinuxLinks in the lab's host."""
    made = HostLinks(lab)
    yield made
    made.stop()
