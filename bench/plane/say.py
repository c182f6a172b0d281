"""What a benchmark says while it runs."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)
