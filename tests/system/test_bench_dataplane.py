"""The benchmark of the data plane runs to its end, and its load generator finds faults."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"
CASES = (
    "bulk up, 1",
    "bulk down, 8",
    "ping-pong 64 B, 16",
    "connect, 1",
    "UDP 64 B, 1",
    "UDP one way, 20k/s",
)

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator needs a C compiler (cc)"),
]


def run(tmp_path: Path, *arguments: str) -> tuple[Any, str]:
    """Run the benchmark briefly; its JSON and its text."""
    output = tmp_path / "figures.json"
    argv = [sys.executable, str(BENCH / "dataplane.py"), "--quick", "--json", str(output), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(output.read_text()), done.stdout


def test_every_load_is_measured_on_every_path(tmp_path: Path) -> None:
    """Bulk, ping-pong, connections and datagrams are measured directly, through the kernel and the proxy."""
    result, text = run(
        tmp_path, "--contestants", "direct", "moorage-kernel", "moorage-proxy", "--only", *CASES
    )
    medians = {figure["name"]: figure["median"] for figure in result["figures"]}
    for path in ("direct", "routed", "moorage-kernel", "moorage-outside", "moorage-proxy"):
        assert medians[f"bulk up, 1 stream/rate/{path}"] > 0
        assert medians[f"ping-pong 64 B, 16/p99/{path}"] > 0
        assert medians[f"connect, 1/rate/{path}"] > 0
        assert f"UDP one way, 20k/s/rate/{path}" in medians
        assert path in text
    assert result["failures"] == []
