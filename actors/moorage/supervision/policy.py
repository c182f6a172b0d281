"""Who is restarted, in which order and how often: Erlang's rules, without a thread or a clock."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Hopeless(Exception):
    """What an actor dies of when another life of it would not help: its supervisor gives up at once."""


def is_hopeless(reason: BaseException | None) -> bool:
    """Whether an actor died of that, in its work or before it was ready."""
    return isinstance(reason, Hopeless) or (reason is not None and isinstance(reason.__cause__, Hopeless))


class Restart(Enum):
    """Whether a child that ended is started again."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    TEMPORARY = "temporary"

    def wants(self, *, crashed: bool) -> bool:
        """Permanent: always. Transient: after a crash. Temporary: never."""
        return self is Restart.PERMANENT or (self is Restart.TRANSIENT and crashed)


class Strategy(Enum):
    """Which siblings are restarted with a child that ended."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"

    def affected(self, names: Sequence[str], died: str) -> list[str]:
        """Whom to halt (in reverse) and start again (in this order); `names` is the order of starting."""
        match self:
            case Strategy.ONE_FOR_ONE:
                return [died]
            case Strategy.REST_FOR_ONE:
                return list(names[names.index(died) :])
            case Strategy.ONE_FOR_ALL:
                return list(names)


@dataclass(frozen=True, slots=True)
class Intensity:
    """At most `limit` restarts within any `window` seconds."""

    limit: int = 3
    window: float = 30.0


class RestartCounter:
    """Counts restarts against an intensity; time is an argument, in seconds."""

    def __init__(self, intensity: Intensity) -> None:
        """Start with no restarts counted."""
        self._intensity = intensity
        self._recent: deque[float] = deque()

    def allow(self, now: float) -> bool:
        """Count one restart at `now`; False when that is one too many."""
        while self._recent and now - self._recent[0] > self._intensity.window:
            self._recent.popleft()
        self._recent.append(now)
        return len(self._recent) <= self._intensity.limit
