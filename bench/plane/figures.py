"""What is measured: kinds of figures, and the numbers of each, round by round."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Literal, Self

from results import Better, Figure

from plane.packages import DOCKER_PROXIES

REFERENCES = (*DOCKER_PROXIES, "direct", "routed", "iptables")
"""What ratios are told against, where it took part."""


@dataclass(frozen=True)
class Kind:
    """What a number is."""

    unit: str
    better: Literal["higher", "lower"]
    form: str
    """How it is printed."""


KINDS: Mapping[str, Kind] = {
    "throughput": Kind("MB/s", "higher", ",.0f"),
    "requests": Kind("1/s", "higher", ",.0f"),
    "lost": Kind("%", "lower", ".2f"),
    "p99": Kind("µs", "lower", ",.0f"),
    "cpu": Kind("s", "lower", ".2f"),
    "machine": Kind("s", "lower", ".2f"),
    "publish": Kind("s", "lower", ".3f"),
    "rss": Kind("MiB", "lower", ",.1f"),
    "pss": Kind("MiB", "lower", ",.1f"),
}
"""`cpu` is that of the contestant's processes, `machine` that of all that runs on the machine, the load and others
included: both for each GB, or for each 100,000 requests or datagrams that arrived. The first kind that a case has is
its main one."""

Key = tuple[str, str, str]
"""Case, contestant and kind."""


@dataclass
class Numbers:
    """One number for each round, and what went wrong."""

    values: dict[Key, list[float]] = field(default_factory=lambda: defaultdict(list))
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, figures: Iterable[Figure]) -> Self:
        """Those that `figures` gave."""
        numbers = cls()
        for figure in figures:
            if figure.relative_to is None:
                case, kind, name = figure.name.rsplit("/", 2)
                numbers.values[case, name, kind] = list(figure.values)
        return numbers

    def add(self, case: str, contestant: str, found: Mapping[str, float]) -> None:
        """Take in one run."""
        for kind, value in found.items():
            self.values[case, contestant, kind].append(value)

    def replace(self, others: Self) -> None:
        """Take over all of the cases that `others` have."""
        cases = set(others.cases())
        kept = {key: values for key, values in self.values.items() if key[0] not in cases}
        self.values = defaultdict(list, kept | others.values)

    def cases(self) -> list[str]:
        """All that have numbers, in the order they came."""
        return list(dict.fromkeys(case for case, _, _ in self.values))

    def kinds(self, case: str) -> list[str]:
        """The kinds of figures of a case, the main one first."""
        found = {kind for each, _, kind in self.values if each == case}
        return [kind for kind in KINDS if kind in found]

    def contestants(self, case: str) -> list[str]:
        """Those that have its main figure, best first."""
        main = self.kinds(case)[0]
        names = [name for each, name, kind in self.values if (each, kind) == (case, main)]
        sign = -1 if KINDS[main].better == "higher" else 1
        return sorted(names, key=lambda name: sign * median(self.values[case, name, main]))

    def ratios(self, case: str, name: str, reference: str) -> list[float]:
        """The main figure's ratios to that of a reference in the same round; none where one is missing."""
        main = self.kinds(case)[0]
        mine, theirs = (self.values.get((case, each, main), []) for each in (name, reference))
        return [one / other for one, other in zip(mine, theirs, strict=False) if other]

    def figures(self) -> tuple[Figure, ...]:
        """All of them, and the main ones' ratios to the references."""
        absolute = [_figure(key, values) for key, values in self.values.items()]
        return (*absolute, *(figure for case in self.cases() for figure in self._relative(case)))

    def _relative(self, case: str) -> list[Figure]:
        main = self.kinds(case)[0]
        return [
            Figure(
                f"{case}/{main} x {reference}/{name}",
                "ratio",
                judged(name, KINDS[main].better),
                tuple(quotients),
                reference,
            )
            for name in self.contestants(case)
            for reference in REFERENCES
            if name != reference and (quotients := self.ratios(case, name, reference))
        ]


def _figure(key: Key, values: Sequence[float]) -> Figure:
    case, name, kind = key
    better = judged(name, KINDS[kind].better)
    return Figure(f"{case}/{kind}/{name}", KINDS[kind].unit, better, tuple(values))


def judged(name: str, better: Better) -> Better:
    """A peer's figures are there to be compared with, and are no progress of ours."""
    return better if name.startswith("moorage") else "neither"


def spread(values: Sequence[float]) -> float:
    """From the least to the most, as a share of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0
