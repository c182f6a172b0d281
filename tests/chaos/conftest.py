"""Agents in this process, as the tests of `control` have them."""

from __future__ import annotations

from control.conftest import agent, kernel, start_agent
from fixtures import lab

__all__ = ["agent", "kernel", "lab", "start_agent"]
