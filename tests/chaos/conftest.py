"""Agents in this process, as the tests of `control` have them."""

from __future__ import annotations

from control.conftest import agent, kernel, start_agent

__all__ = ["agent", "kernel", "start_agent"]
