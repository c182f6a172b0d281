"""Figures of a benchmark as a file: what was measured, how often, on what machine.

A file `results/NAME.json` is one object: `{benchmark, machine, versions, when, figures}`, and a figure is
`{name, unit, better, values, median, relative_to?}`; `values` has one number for each round.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal, Self, get_args

from moorage.version import VERSION

DIRECTORY = Path(__file__).resolve().parent / "results"
"""Where the figures that the project stands by are kept."""
COUNT = "count"
"""The unit of what is counted and is the same on every machine: what is left over, processes, failures."""
DIGITS = 4
"""Significant digits that are kept."""

Better = Literal["higher", "lower", "neither"]
"""The direction of progress; what a peer does is neither better nor worse, and there to be compared with."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity, of one contestant in one case, round by round."""

    name: str
    """What is measured, general to particular: `connect/500 attached/cni`. The same in every run."""
    unit: str
    """`ms`, `KiB`, `1/s`, `ratio`, `COUNT`, …"""
    better: Better
    values: tuple[float, ...]
    """One for each round, at least one."""
    relative_to: str | None = None
    """For a ratio: what each round's value was divided by, measured in the same round."""

    def __post_init__(self) -> None:
        """Round the values. Raises ValueError where there is none, or `better` is none of its words."""
        if not self.values or self.better not in get_args(Better):
            raise ValueError(
                f"{self.name} needs values and a direction, not {self.values} and {self.better!r}"
            )
        object.__setattr__(self, "values", tuple(float(f"{each:.{DIGITS}g}") for each in self.values))

    @property
    def median(self) -> float:
        """What stands for all rounds."""
        return median(self.values)

    @property
    def portable(self) -> bool:
        """Whether it means the same on another machine: a ratio within a run, or a count."""
        return self.relative_to is not None or self.unit == COUNT

    def as_json(self) -> dict[str, Any]:
        """The object in the file."""
        told = {"name": self.name, "unit": self.unit, "better": self.better, "values": list(self.values)}
        relative = {} if self.relative_to is None else {"relative_to": self.relative_to}
        return told | {"median": self.median} | relative

    @classmethod
    def from_json(cls, told: Mapping[str, Any]) -> Self:
        """Read `as_json` back; the median is taken from the values."""
        values = tuple(told["values"])
        return cls(told["name"], told["unit"], told["better"], values, told.get("relative_to"))


def ratios(
    name: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    relative_to: str,
    better: Better,
) -> Figure:
    """Values of `ours` divided by those of `theirs`, round by round; `better` is said of the quotient."""
    quotients = tuple(one / other for one, other in zip(ours, theirs, strict=True))
    return Figure(name, "ratio", better, quotients, relative_to)


def machine() -> dict[str, Any]:
    """What the figures depend on: cores that may be used, memory, architecture, kernel, Python."""
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(memory / 2**30),
        "architecture": platform.machine(),
        "kernel": ".".join(platform.release().split("-")[0].split(".")[:2]),
        "python": platform.python_version(),
    }


def now() -> str:
    """This minute in UTC, as RFC 3339 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime())


@dataclass(frozen=True, slots=True)
class Results:
    """All figures of one run of one benchmark."""

    benchmark: str
    figures: tuple[Figure, ...]
    versions: Mapping[str, str] = field(default_factory=dict)
    """Of the contestants; ours is added."""
    machine: Mapping[str, Any] = field(default_factory=machine)
    when: str = field(default_factory=now)

    def __post_init__(self) -> None:
        """Say our version. Raises ValueError where two figures have the same name."""
        names = [each.name for each in self.figures]
        if len(names) != len(set(names)):
            raise ValueError(f"names of {self.benchmark} are not unique: {sorted(names)}")
        object.__setattr__(self, "versions", {"moorage": VERSION} | dict(self.versions))

    def write(self, path: Path) -> None:
        """Write the file, and the directory where it is missing; a figure is a line, so that changes show well."""
        path.parent.mkdir(parents=True, exist_ok=True)
        head = {
            "benchmark": self.benchmark,
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "when": self.when,
        }
        lines = ",\n".join(json.dumps(each.as_json(), ensure_ascii=False) for each in self.figures)
        opening = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items())
        path.write_text(f'{{\n{opening},\n"figures": [\n{lines}\n]\n}}\n')

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a file. Raises ValueError, KeyError or TypeError where it is not one."""
        told = json.loads(text)
        figures = tuple(map(Figure.from_json, told["figures"]))
        return cls(told["benchmark"], figures, told["versions"], told["machine"], told["when"])
