"""The benchmark of the data plane runs to its end; what it measures is no test's business."""

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
OURS = ("moorage-kernel", "moorage-proxy", "moorage-memory")

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("cc") is None, reason="the load generator needs a C compiler (cc)"),
]


def run(tmp_path: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """Run the benchmark briefly; its medians by name, and its text."""
    output = tmp_path / "figures.json"
    argv = [sys.executable, str(BENCH / "dataplane.py"), "--quick", "--json", str(output), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(output.read_text())["figures"]
    return {figure["name"]: figure["median"] for figure in figures}, done.stdout


def test_every_load_is_measured_on_every_path(tmp_path: Path) -> None:
    """Bulk, ping-pong, connections and datagrams are measured directly, through the kernel and the proxy."""
    medians, text = run(tmp_path, "--contestants", "direct", *OURS, "--only", *CASES)
    assert "left out" not in text
    for path in ("direct", "routed", "moorage-kernel", "moorage-outside", "moorage-proxy", "moorage-memory"):
        assert medians[f"bulk up, 1 stream/throughput/{path}"] > 0
        assert medians[f"ping-pong 64 B, 16/p99/{path}"] > 0
        assert medians[f"connect, 1/requests/{path}"] > 0
        assert f"UDP one way, 20k/s/lost/{path}" in medians
        assert path in text
    assert medians["connect, 1/requests x direct/moorage-proxy"] > 0


def test_memory_ports_and_flows_are_measured(tmp_path: Path) -> None:
    """Idle connections and published ports are weighed, and new flows are counted beside published ports."""
    medians, _ = run(tmp_path, "--contestants", *OURS, "moorage-range", "--only", "idle", "ports", "new")
    assert medians["idle, 100 connections/rss/moorage-proxy"] > 0
    assert medians["ports, 10 at once/publish/moorage-range"] > 0
    assert medians["new UDP flows/requests/moorage, 10"] > 0


def test_a_case_that_is_not_there_is_refused() -> None:
    """A misspelt case ends the program before anything is measured, with the names there are."""
    argv = [sys.executable, str(BENCH / "dataplane.py"), "--only", "bulk sideways"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert "bulk sideways" in done.stderr
