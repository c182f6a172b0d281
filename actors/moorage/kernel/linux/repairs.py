"""Repairs of links and sysctls, which give way to whoever undoes them again and again."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from moorage.model.backoff import Backoff


class Repairs:
    """Makes repairs, unless what they are of has to rest; remembers the fights that began and the next rest's end."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff = Backoff(clock)
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
