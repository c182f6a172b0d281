"""libnftables, which ends the process where it gets no descriptor, is not called then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

PROGRAM = Path(__file__).with_name("starved_nftables.py")


@pytest.mark.parametrize(
    ("left", "what", "outcome"),
    [
        (0, "run", "done"),  # by what it has in hand
        (0, "list", "done"),
        (0, "open", "limit"),
        (2, "open", "limit"),
        (100, "open", "done"),
        (100, "run", "done"),
        (100, "again", "done"),
    ],
)
def test_without_descriptors(left: int, what: str, outcome: str) -> None:
    """What can be done with those in hand is done, and all else refused, `limit`; the process goes on."""
    done = subprocess.run(
        [sys.executable, PROGRAM, str(left), what], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, outcome), done.stderr
