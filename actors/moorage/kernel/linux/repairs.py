"""Repairs of links and sysctls, which give way to whoever undoes them again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from moorage.errors import Refused
from moorage.model.backoff import Backoff, Pace

_FAILING = Pace(limit=3, first=1.0)
_SHARE = 0.05
"""Of one processor, that looks into one container may take for long."""
_CHEAP = 0.01
"""Seconds of a processor: ten times what a look into a container takes that has little in it."""


class Repairs:
    """Makes repairs, unless what they are of has to rest; remembers the fights that began and the next rest's end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._backoff = Backoff(clock)
        self._failing = Backoff(clock, _FAILING)
        self._dear: dict[str, float] = {}
        """Until when something rests for what it cost."""
        self._contested: list[str] = []
        self._rests: list[float] = []

    def attempt(self, what: str, repair: Callable[[], list[str]]) -> list[str]:
        """Do `repair`, whose sentences say what was wrong with `what`, and return them; nothing while it rests."""
        if (rest := self._backoff.rest(what)) > 0:
            self._rests.append(rest)
            return []
        done = repair()
        if done and (contest := self._backoff.repaired(what)) is not None:
            self._contested.append(str(contest))
        return done

    def attempt_inside(self, what: str, repair: Callable[[], list[str]]) -> list[str]:
        """The same for what somebody else decides about, in a container: what fails rests as well, and what is dear."""
        began = time.thread_time()
        try:
            return self.attempt(what, repair)
        except Refused:
            self._failing.repaired(what)
            raise
        finally:
            self._charge(what, time.thread_time() - began)

    def rests_inside(self, what: str) -> bool:
        """Whether it has to rest, since it failed, or was dear."""
        rest = max(self._failing.rest(what), self._dear.get(what, 0.0) - self._clock())
        if rest > 0:
            self._rests.append(rest)
        return rest > 0

    def _charge(self, what: str, spent: float) -> None:
        now = self._clock()
        self._dear = {each: until for each, until in self._dear.items() if until > now}
        if spent > _CHEAP:
            self._dear[what] = now + spent / _SHARE

    def fights(self) -> list[str]:
        """A sentence for each fight that goes on."""
        return [
            f"somebody undoes this each time it is put right, which is done ever more slowly: {what}"
            for what in self._backoff.contested()
        ]

    def outcome(self) -> tuple[Sequence[str], float | None]:
        """Since the last call: a warning for each fight that began, and the seconds until something rested enough."""
        contested, self._contested = self._contested, []
        rests, self._rests = self._rests, []
        return contested, min(rests, default=None)
