"""What is measured: a table of loads, and the figures that each gives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Better = Literal["higher", "lower"]


@dataclass(frozen=True)
class Case:
    """One load, as the load generator takes it."""

    name: str
    mode: str
    connections: int = 1
    size: int = 64
    """Bytes of a message or datagram; bulk has a size of its own."""
    rate: int = 0
    """Datagrams a second."""
    group: str = "all"
    """Which contestants it is for: `loopback`, `outside` or `all`."""

    @property
    def udp(self) -> bool:
        """Whether it needs UDP."""
        return self.mode in {"udp", "flows", "flood"}

    def argv(self, to: tuple[str, int], milliseconds: int) -> list[str]:
        """The load generator's arguments."""
        numbers = (to[1], self.connections, milliseconds, self.size, self.rate)
        return [self.mode, to[0], *map(str, numbers)]


CASES = (
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


@dataclass(frozen=True)
class Figure:
    """What a number is."""

    unit: str
    better: Better


RATE = {"up": Figure("MB/s", "higher"), "down": Figure("MB/s", "higher"), "flood": Figure("% lost", "lower")}
FIGURES: Mapping[str, Figure] = {
    "p99": Figure("µs", "lower"),
    "cpu": Figure("s", "lower"),
    "machine": Figure("s", "lower"),
}
"""Beside the rate: the slowest hundredth, and seconds of CPU of the proxy's processes and of the whole machine,
for each GB or for each 100,000 requests."""


def rate_of(case: Case) -> Figure:
    """What a case's main number is."""
    return RATE.get(case.mode, Figure("/s", "higher"))


def figures(case: Case, run: Mapping[str, Any], cpu: float, machine: float) -> dict[str, float]:
    """The numbers of one run: `rate`, and those of `FIGURES` that it has."""
    match case.mode:
        case "up" | "down":
            units = run["bytes"] / 1e9
            found = {"rate": run["bytes"] / 1e6 / run["seconds"]}
        case "flood":
            units = run["bytes"] / case.size / 1e5
            found = {"rate": 100 * run["lost"] / max(1, run["sent"])}
        case _:
            units = run["requests"] / 1e5
            found = {"rate": run["requests"] / run["seconds"], "p99": run["p99_us"]}
    if units:
        found |= {"cpu": cpu / units, "machine": machine / units}
    return found
