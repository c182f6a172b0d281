"""The benchmarks run to their end; what they measure is no test's business."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.system

BENCH = Path(__file__).resolve().parents[2] / "bench"


def run(tmp_path: Path, program: str, *arguments: str) -> Any:
    """Run a benchmark as briefly as it can be, and return what it wrote as JSON."""
    output = tmp_path / "figures.json"
    argv = [sys.executable, str(BENCH / program), "--quick", "--json", str(output), *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout
    return json.loads(output.read_text())


def test_control_measures_every_fill(tmp_path: Path) -> None:
    """Connecting containers is measured for the agent and its command line, at each fill."""
    figures = run(tmp_path, "control.py", "--only", "moorage", "moorage-cli", "--churn", "1")
    measured = [(row["contestant"], row["attached"]) for row in figures["rows"]]
    assert measured == [("moorage", 0), ("moorage-cli", 0), ("moorage", 2), ("moorage-cli", 2)]
    assert all(row["set_up_ms"] > 0 and row["release_ms"] > 0 for row in figures["rows"])
    assert figures["memory"]["rss_kib"] > 0
    assert figures["churn"]["cycles"] == 1


def test_rpc_measures_both_kernels(tmp_path: Path) -> None:
    """Requests are measured on either kernel, by one client and by many, and a range of ports."""
    figures = run(tmp_path, "rpc.py")
    for kernel in ("memory", "linux"):
        assert figures[kernel]["1_clients"]["allocates_per_second"] > 0
        assert figures[kernel]["8_clients"]["allocates_per_second"] > 0
        assert figures[kernel]["one_at_a_time"]["allocate_p99_ms"] > 0
    assert figures["range_20"]["publish_s"] > 0
