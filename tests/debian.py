"""Debian packages unpacked beside the project and not installed: `.peers/NAME/`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PEERS = Path(__file__).resolve().parents[1] / ".peers"


def unpack(name: str, packages: Sequence[str]) -> None:
    """Download these and unpack them, unless that was done before. Raises CalledProcessError or OSError."""
    root = PEERS / name
    if root.exists():
        return
    downloads = root.with_suffix(".new")
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    subprocess.run(["apt-get", "-q", "download", *packages], cwd=downloads, check=True, capture_output=True)
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package.name, "."], cwd=downloads, check=True)
    downloads.rename(root)


def libraries(name: str) -> Path | None:
    """Where the shared libraries of an unpacked one are; None unless it was unpacked."""
    return next((PEERS / name / "usr/lib").glob("*-linux-gnu"), None)
