"""How soon an agent is ready again with many mappings."""

from __future__ import annotations

import signal
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from chaos.told import require
from chaos.victim import Victim
from lab import Lab

PORTS = 10
"""Mappings of each interface."""
ASKING = 8
"""Clients that make them."""


@dataclass(frozen=True)
class Restart:
    """Seconds from the start of the process until it is ready, after a kill and after SIGTERM."""

    mappings: int
    killed: float
    stopped: float

    def __str__(self) -> str:
        return f"{self.mappings} mappings: ready {self.killed:.2f} s after a kill, {self.stopped:.2f} s after a stop"


def restart(directory: Path, lab: Lab | None, mappings: int) -> Restart:
    """Publish so many ports, and start the agent again twice."""
    with Victim(directory, lab, subnet="10.0.0.1/16", port_range="1024-65535") as victim:
        with ThreadPoolExecutor(ASKING) as pool:
            made = pool.map(lambda number: _interface(victim, number), range(mappings // PORTS))
            require(sum(made) == mappings, f"less than {mappings} were made")
        took = []
        for how in (signal.SIGKILL, signal.SIGTERM):
            victim.replace(how)
            took.append(victim.took)
            require(victim.client.status().mappings == mappings, "some are lost")
        return Restart(mappings, *took)


def _interface(victim: Victim, number: int) -> int:
    return len(victim.client.allocate(f"i{number}", ports=["80"] * PORTS).ports)
