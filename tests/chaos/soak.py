"""`bin/test --soak`: the tests of this folder, for as long as there is time, or until enough has died.

Prints the seed, what each run did, the first promise that was broken, and a table of it all. The same seed
draws the same again.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import structlog

from chaos.account import Account
from chaos.dying import CRASHES, HANGS
from chaos.runs import COUNTING, RUNS, Enough
from moorage.log import set_up_logging

MINUTES = 30.0
PART = 60.0
"""Seconds of one run, so that a seed can be replayed in a short time."""


@dataclass
class Goals:
    """What is to be reached, both kinds of kernel together; nothing of it when there is a time instead."""

    kills: int = 0
    deaths: int = 0
    """Crashes, and as many hangs, of each actor."""

    def __bool__(self) -> bool:
        return bool(self.kills or self.deaths)

    def met(self, name: str, done: Account) -> bool:
        """Whether a run of that name, which did all that, need not go on."""
        if name == "actors_die":
            counted = {False: done.crashes, True: done.hangs}
            return all(counted[hangs][role] >= self.deaths for role, hangs in (*CRASHES, *HANGS))
        return done.kills.total() >= self.kills / 2 and done.hangs["journal"] >= self.deaths / 2


@dataclass
class Soak:
    """The runs in turn with a seed each, each with what it did in all."""

    seed: int
    only: list[str]
    until: float
    goals: Goals
    done: dict[str, Account] = field(default_factory=dict)

    def run(self) -> int:
        """Run until there is enough of it; 1 when a promise was broken."""
        seed = self.seed
        while self._wanted():
            for name in self._wanted():
                if not self._part(name, seed):
                    return 1
            seed += 1
        return 0

    def total(self) -> Account:
        """All of it."""
        total = Account(self.seed)
        for each in self.done.values():
            total.add(each)
        return total

    def _wanted(self) -> list[str]:
        """Who is to run once more: as long as there is time, or all once and some until their goals are met."""
        if not self.goals:
            return self.only if time.monotonic() < self.until or not self.done else []
        return [name for name in self.only if name not in self.done or not self._met(name, Account(0))]

    def _met(self, name: str, more: Account) -> bool:
        both = Account(self.seed)
        for each in (self.done.get(name, Account(0)), more):
            both.add(each)
        return name not in COUNTING or self.goals.met(name, both)

    def _part(self, name: str, seed: int) -> bool:
        """One run; False when a promise was broken, and what is left of it is left."""
        directory = Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
        began = time.monotonic()
        try:
            done = RUNS[name](seed, directory, self._enough(name, began + PART))
            print(f"{name}: {done} ({time.monotonic() - began:.0f} s)", flush=True)
        except BaseException:  # noqa: BLE001 - whatever it is, the seed has to be told
            traceback.print_exc(limit=-8)
            print(f"{name}: broken, state and log are in {directory}", flush=True)
            print(f"again: bin/test --soak 1 --seed {seed} --only {name}", flush=True)
            return False
        self.done.setdefault(name, Account(seed)).add(done if isinstance(done, Account) else Account(seed))
        shutil.rmtree(directory)
        return True

    def _enough(self, name: str, until: float) -> Enough:
        """Whether a run has had its time, or has met its goals."""
        return lambda done: time.monotonic() > until or (bool(self.goals) and self._met(name, done))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bin/test --soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=MINUTES, help="how long (%(default)s)")
    parser.add_argument("--kills", type=int, default=0, help="until so many processes were killed, instead")
    parser.add_argument(
        "--deaths", type=int, default=0, help="until each actor crashed, and hung, so often, instead"
    )
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("MOORAGE_SEED", time.time_ns() % 10**6))
    )
    parser.add_argument("--only", action="append", choices=RUNS, help="these runs alone")
    return parser.parse_args()


def main() -> int:
    """Run, and print the table."""
    options = arguments()
    set_up_logging("critical")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"soak: seed {options.seed}", flush=True)
    began = time.monotonic()
    goals = Goals(options.kills, options.deaths)
    soak = Soak(options.seed, options.only or list(RUNS), began + 60 * options.minutes, goals)
    status = soak.run()
    print(f"\n{soak.total().table()}\n{'seed':58}{options.seed:8}", flush=True)
    print(f"{'minutes':58}{(time.monotonic() - began) / 60:8.1f}", flush=True)
    print(f"{'promises broken':58}{status:8}", flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
