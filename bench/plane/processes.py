"""What processes take: seconds of CPU and memory, with their children."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


def family(pids: Iterable[int]) -> Iterator[int]:
    """These processes and all that come from them, as far as they live."""
    for pid in pids:
        yield pid
        with suppress(OSError):
            for task in (PROC / str(pid) / "task").iterdir():
                yield from family(map(int, (task / "children").read_text().split()))


def cpu(pids: Sequence[int]) -> float:
    """Seconds of CPU that a family has taken, those of its dead included once they are reaped."""
    return sum(map(_cpu, family(pids)))


def _cpu(pid: int) -> float:
    with suppress(OSError):
        fields = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[11:15])) * TICK
    return 0.0


def machine_cpu() -> float:
    """Seconds of CPU that everything on this machine has taken: user, nice, system and interrupts."""
    user, nice, system, _idle, _wait, hard, soft = (PROC / "stat").read_text().split(maxsplit=8)[1:8]
    return sum(map(int, (user, nice, system, hard, soft))) * TICK


def memory(pids: Sequence[int]) -> dict[str, float]:
    """Resident and proportional size of a family, MiB."""
    sizes = [_memory(pid) for pid in family(pids)]
    return {"rss": sum(rss for rss, _ in sizes) / 1024, "pss": sum(pss for _, pss in sizes) / 1024}


def _memory(pid: int) -> tuple[int, int]:
    with suppress(OSError):
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        return sizes["Rss"], sizes["Pss"]
    return 0, 0
