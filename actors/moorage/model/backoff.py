"""How soon what others change is put right again, when they change it again and again."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple


class Pace(NamedTuple):
    """When repairs of one thing begin to be held back, and how far. In seconds."""

    limit: int = 10
    """Repairs within `window` that are made at once: more than any reload of a firewall needs."""
    window: float = 15.0
    """Links are looked at once or twice a second, so that a fight over one reaches the limit within it."""
    first: float = 0.5
    """The pause after the last of these; it doubles with each repair that follows."""
    longest: float = 8.0
    """With 10,000 mappings a repair costs some 0.4 s of a core: 5 % at this pace."""


class Contest(NamedTuple):
    """A fight that has begun over `what`."""

    what: str
    pause: float

    def __str__(self) -> str:
        return (
            f"somebody undoes this each time it is put right: {self.what}. It goes on being put right, after "
            f"{self.pause} s and then more and more slowly: find who does it, as one of you has to stop"
        )


@dataclass(slots=True)
class _Thing:
    repairs: deque[float] = field(default_factory=deque)
    pause: float = 0.0

    def rests_until(self) -> float:
        return self.repairs[-1] + self.pause if self.pause else 0.0

    def is_quiet(self, now: float, window: float) -> bool:
        return now > self.repairs[-1] + self.pause + window


class Backoff:
    """Remembers the repairs of each thing; pauses grow while they go on, and end when it stays right for a while."""

    def __init__(self, clock: Callable[[], float], pace: Pace = Pace()) -> None:  # noqa: B008 - immutable
        """Begin without a repair. `clock` gives seconds that only grow."""
        self._clock = clock
        self._pace = pace
        self._things: dict[str, _Thing] = {}
        self._swept = clock()

    def rest(self, what: str) -> float:
        """Seconds for which `what` is to be left as it is; 0.0 when it may be put right."""
        thing = self._things.get(what)
        return 0.0 if thing is None else max(0.0, thing.rests_until() - self._clock())

    def repaired(self, what: str) -> Contest | None:
        """Note that `what` was put right; a Contest when that was once too often, once for each fight."""
        now = self._clock()
        self._forget_quiet(now)
        thing = self._things.get(what)
        if thing is None or thing.is_quiet(now, self._pace.window):
            thing = self._things[what] = _Thing()
        thing.repairs.append(now)
        while now - thing.repairs[0] > self._pace.window:
            thing.repairs.popleft()
        if thing.pause:
            thing.pause = min(2 * thing.pause, self._pace.longest)
        elif len(thing.repairs) >= self._pace.limit:
            thing.pause = self._pace.first
            return Contest(what, thing.pause)
        return None

    def contested(self) -> list[str]:
        """What is fought over at the moment, and was until a while ago."""
        now, window = self._clock(), self._pace.window
        return [
            what for what, thing in self._things.items() if thing.pause and not thing.is_quiet(now, window)
        ]

    def _forget_quiet(self, now: float) -> None:
        """Things come and go with their names: what is quiet takes no room. One look in each window is enough."""
        window = self._pace.window
        if now - self._swept >= window:
            self._swept = now
            self._things = {
                what: thing for what, thing in self._things.items() if not thing.is_quiet(now, window)
            }
