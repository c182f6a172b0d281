"""What runs did, in numbers, and as the table that a soak ends with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

MOMENT = "at a random moment"
"""How a kill is counted that comes at no step in particular."""


@dataclass
class Account:
    """What a run did, or several together."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)
    """Processes killed, by the step that was under way."""
    crashes: Counter[str] = field(default_factory=Counter)
    """Actors that raised, by role."""
    hangs: Counter[str] = field(default_factory=Counter)
    """Actors that hung and were replaced, by role; the journal's end the process."""
    woken: int = 0
    """Those that hung and woke up again with another in their place."""
    held: int = 0
    """Those among them that went on with a request of a client, not with what was sent to make them hang."""
    escalations: Counter[str] = field(default_factory=Counter)
    """Supervisors that gave up, since more died under them than is allowed."""
    checks: int = 0
    answered: int = 0
    repeated: int = 0
    slowest: float = 0.0
    """Seconds of the slowest answer, repeats included."""
    ready: float = 0.0
    """Seconds of the slowest start."""
    last: str = "nobody died"

    @property
    def deaths(self) -> int:
        """How many actors died."""
        return self.crashes.total() + self.hangs.total()

    def add(self, other: Account) -> None:
        """Count another run too."""
        for mine, theirs in zip(self._counters(), other._counters(), strict=True):
            mine.update(theirs)
        for name in ("woken", "held", "checks", "answered", "repeated"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.slowest, self.ready = max(self.slowest, other.slowest), max(self.ready, other.ready)

    def _counters(self) -> tuple[Counter[str], ...]:
        return self.kills, self.crashes, self.hangs, self.escalations

    def __str__(self) -> str:
        return (
            f"seed {self.seed}: {self.kills.total()} kills, {self.crashes.total()} crashes, "
            f"{self.hangs.total()} hangs, {self.checks} checks, {self.answered} answers, "
            f"{self.repeated} repeats, slowest answer {self.slowest:.2f} s, "
            f"ready again in {self.ready:.2f} s at most, last: {self.last}"
        )

    def table(self) -> str:
        """All of it, a line for each step and each actor."""
        return "\n".join(
            [
                *_rows(("killed", "times"), [(each, self.kills[each]) for each in sorted(self.kills)]),
                f"{'all':58}{self.kills.total():8}",
                "",
                *_rows(("actor", "crashes", "hangs"), self._actors()),
                f"{'all':58}{self.crashes.total():8}{self.hangs.total():8}",
                "",
                *_rows(("gave up, as it should", "times"), sorted(self.escalations.items())),
                "",
                *_rows(("besides", ""), self._rest()),
            ]
        )

    def _actors(self) -> list[tuple[object, ...]]:
        return [(each, self.crashes[each], self.hangs[each]) for each in sorted(self.crashes | self.hangs)]

    def _rest(self) -> list[tuple[object, ...]]:
        return [
            ("woke up after they had been replaced", self.woken),
            ("of these, with the request of a client", self.held),
            ("checks of everything against everything", self.checks),
            ("requests answered", self.answered),
            ("repeats of requests", self.repeated),
            ("slowest answer, seconds", f"{self.slowest:.2f}"),
            ("slowest ready again, seconds", f"{self.ready:.2f}"),
        ]


def _rows(head: tuple[object, ...], rows: Iterable[tuple[object, ...]]) -> list[str]:
    return [f"{row[0]!s:58}" + "".join(f"{each!s:>8}" for each in row[1:]) for row in (head, *rows)]
