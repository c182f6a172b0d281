"""A lab for every test of the whole system."""

from __future__ import annotations

from fixtures import cgroup, lab

__all__ = ["cgroup", "lab"]
