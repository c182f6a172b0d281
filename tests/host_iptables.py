"""Debian's iptables of either kind, run in the host of a lab."""

from __future__ import annotations

import pytest

import iptables
from lab import Lab

WAITING = ("-w", "10")
"""Seconds for which the legacy kind waits while somebody else, the agent too, holds its lock."""


class Iptables:
    """One kind of iptables in the host, both families."""

    def __init__(self, lab: Lab, kind: str, environment: dict[str, str]) -> None:
        self._lab, self._environment = lab, environment
        self._programs = [f"{family}-{kind}" for family in ("iptables", "ip6tables")]

    def run(self, arguments: str) -> str:
        """What both say, one after the other."""
        return "".join(
            self._lab.run("host", [program, *WAITING, *arguments.split()], env=self._environment)
            for program in self._programs
        )

    def forward(self) -> list[list[str]]:
        """The rules of FORWARD without its policy, IPv4's and IPv6's."""
        return [
            self._lab.run("host", [program, *WAITING, "-S", "FORWARD"], env=self._environment).splitlines()[
                1:
            ]
            for program in self._programs
        ]


def needed() -> dict[str, str]:
    """What a process needs in its environment to run iptables; skips the test where it cannot be had."""
    found = iptables.environment()
    if found is None:
        pytest.skip("Debian's iptables is neither installed nor in .peers: python tests/iptables.py")
    return found
