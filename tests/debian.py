"""Debian packages unpacked beside the project and not installed: `.peers/NAME/`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1] / ".peers"


def unpack(name: str, packages: Sequence[str]) -> None:
    """Download these and unpack them, unless that was done before. Raises OSError, with what stands in the way."""
    root = PEERS / name
    if root.exists():
        return
    downloads = root.with_suffix(".new")
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    _run(["apt-get", "-q", "download", *packages], downloads)
    for package in downloads.glob("*.deb"):
        _run(["dpkg", "-x", package.name, "."], downloads)
    downloads.rename(root)


def _run(command: Sequence[str], directory: Path) -> None:
    done = subprocess.run(command, cwd=directory, check=False, capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["no reason given"]
        raise OSError(f"{' '.join(command)}: {said[-1]}")


def libraries(name: str) -> Path | None:
    """Where the shared libraries of an unpacked one are; None unless it was unpacked."""
    return next((PEERS / name / "usr/lib").glob("*-linux-gnu"), None)
