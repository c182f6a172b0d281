"""A lab for every test of the whole system."""

from __future__ import annotations

from fixtures import lab

__all__ = ["lab"]
