"""The loads, as a table, and the numbers that each gives."""

from __future__ import annotations

import resource
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

CROWD = 10_000
SHARE = 0.15
"""Connections at one port for each descriptor of a proxy: moorage has none with more than it leaves to all others."""


@dataclass(frozen=True)
class Case:
    """One load, as the load generator takes it."""

    name: str
    mode: Literal["up", "down", "echo", "once", "idle", "udp", "flows", "flood"]
    connections: int = 1
    size: int = 64
    """Bytes of a message or datagram; bulk has a size of its own."""
    rate: int = 0
    """Datagrams a second."""
    group: Literal["all", "loopback", "outside"] = "all"
    """Which contestants it is for."""

    @property
    def udp(self) -> bool:
        """Whether it needs UDP."""
        return self.mode in {"udp", "flows", "flood"}

    def argv(self, to: tuple[str, int], milliseconds: int) -> list[str]:
        """The load generator's arguments."""
        numbers = (to[1], self.connections, milliseconds, self.size, self.rate)
        return [self.mode, to[0], *map(str, numbers)]


TRAFFIC = (
    Case("bulk up, 1 stream", "up"),
    Case("bulk up, 8 streams", "up", 8),
    Case("bulk down, 1 stream", "down"),
    Case("bulk down, 8 streams", "down", 8),
    *(Case(f"ping-pong 64 B, {n}", "echo", n) for n in (1, 16, 64)),
    *(Case(f"ping-pong 1 KB, {n}", "echo", n, 1024) for n in (1, 16, 64)),
    *(Case(f"connect, {n}", "once", n) for n in (1, 16)),
    *(Case(f"UDP 64 B, {n}", "udp", n) for n in (1, 16)),
    *(Case(f"UDP 1400 B, {n}", "udp", n, 1400) for n in (1, 16)),
    *(Case(f"UDP one way, {rate // 1000}k/s", "flood", 1, 200, rate) for rate in (20_000, 80_000)),
)
FLOWS = (Case("new TCP flows", "once"), Case("new UDP flows", "flows"))
"""What a rule for each port makes slower."""


def crowds() -> tuple[Case, ...]:
    """Idle connections, as many as this user's limit of descriptors leaves one port of each proxy."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = CROWD if limit == resource.RLIM_INFINITY else min(CROWD, int(limit * SHARE))
    levels = [*(level for level in (0, 100, 1_000, 3_000) if level < most), most]
    return tuple(Case(f"idle, {level} connections", "idle", level, group="loopback") for level in levels)


def chosen(cases: Sequence[Case], only: Sequence[str] | None) -> list[Case]:
    """Those whose names begin with one of these."""
    return [case for case in cases if only is None or case.name.startswith(tuple(only))]


def numbers(case: Case, run: Mapping[str, Any], cpu: float, machine: float) -> dict[str, float]:
    """The figures of one run, which took so many seconds of CPU."""
    match case.mode:
        case "up" | "down":
            work, found = run["bytes"] / 1e9, {"throughput": run["bytes"] / 1e6 / run["seconds"]}
        case "flood":
            work, found = run["bytes"] / case.size / 1e5, {"lost": 100 * run["lost"] / max(1, run["sent"])}
        case _:
            rate = run["requests"] / run["seconds"]
            work, found = run["requests"] / 1e5, {"requests": rate, "p99": run["p99_us"]}
    return found | ({"cpu": cpu / work, "machine": machine / work} if work else {})
