"""The command line: `moorage COMMAND`."""

from __future__ import annotations

from moorage.cli.main import main

__all__ = ["main"]
