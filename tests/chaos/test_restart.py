"""Starting again with many mappings."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.restarting import restart
from lab import Lab

pytestmark = pytest.mark.system

LIMIT = 20.0
"""Seconds that a thousand mappings may take on a machine that is busy with other tests; 0.6 on one that is not."""


def test_a_thousand_mappings_are_soon_back(tmp_path: Path) -> None:
    """An agent with 1,000 mappings on the real kernel is ready again within seconds, killed or stopped."""
    with Lab() as lab:
        took = restart(tmp_path, lab, 1000)
    assert max(took.killed, took.stopped) < LIMIT
