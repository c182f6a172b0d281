"""`bin/test --soak [MINUTES] [--seed N]`: the tests of this folder, for as long as there is time.

Prints the seed, what was done, and the first promise that was broken; the same seed draws the same again.
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
from collections.abc import Callable, Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import hypothesis
import structlog
from hypothesis.stateful import run_state_machine_as_test

from chaos.dying import Dying
from chaos.killing import Killing
from chaos.machine import Machine
from chaos.restarting import restart
from lab import Lab
from moorage.service import set_up_logging

MINUTES = 30.0
PART = 60.0
"""Seconds of one run at least, so that a seed can be replayed in a short time."""

Run = Callable[[int, Path], object]


def killed_on_a_file(seed: int, directory: Path) -> object:
    """Kill the agent on a kernel in a file."""
    return Killing(directory, seed).run(enough())


def killed_on_linux(seed: int, directory: Path) -> object:
    """Kill the agent on the real kernel, with containers attached."""
    with Lab() as lab:
        return Killing(directory, seed, lab).run(enough())


def actors_die(seed: int, directory: Path) -> object:
    """Crash and hang single actors."""
    return Dying(directory, seed).run(enough())


def model(seed: int, _directory: Path) -> object:
    """Hold the agent to its model."""
    examples = 30
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(Machine)
    run_state_machine_as_test(Machine, settings=settings)  # type: ignore[no-untyped-call]  # of hypothesis
    return f"seed {seed}: {examples} histories"


def restarts(_seed: int, directory: Path) -> object:
    """Start again with many mappings."""
    with Lab() as lab:
        few, many = (restart(_made(directory / str(count)), lab, count) for count in (1000, 10000))
        return f"{few}; {many}"


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


RUNS: dict[str, Run] = {
    run.__name__: run for run in (killed_on_a_file, killed_on_linux, actors_die, model, restarts)
}


def enough() -> Callable[[object], bool]:
    """Whether a run has had its time."""
    until = time.monotonic() + PART
    return lambda _account: time.monotonic() > until


def runs(first: int, only: list[str], until: float) -> Iterator[tuple[str, int]]:
    """The runs in turn with a seed each, as long as there is time."""
    seed = first
    while True:
        for name in only:
            yield name, seed
            if time.monotonic() > until:
                return
        seed += 1


def soak(minutes: float, first: int, only: list[str]) -> int:
    """Run them; 1 when a promise was broken."""
    for name, seed in runs(first, only, time.monotonic() + 60 * minutes):
        directory = Path(tempfile.mkdtemp(prefix="soak-", dir="/tmp"))
        try:
            print(f"{name}: {RUNS[name](seed, directory)}", flush=True)
        except BaseException:  # noqa: BLE001 - whatever it is, the seed has to be told
            traceback.print_exc(limit=-8)
            print(f"{name}: broken, state and log are in {directory}", flush=True)
            print(f"again: bin/test --soak 1 --seed {seed} --only {name}", flush=True)
            return 1
        shutil.rmtree(directory)
    return 0


def main() -> int:
    """Read the arguments and run."""
    parser = argparse.ArgumentParser(prog="bin/test --soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=MINUTES, help="how long (%(default)s)")
    parser.add_argument(
        "--seed", type=int, default=int(os.environ.get("MOORAGE_SEED", time.time_ns() % 10**6))
    )
    parser.add_argument("--only", action="append", choices=RUNS, help="these runs alone")
    options = parser.parse_args()
    set_up_logging("critical")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    print(f"soak: {options.minutes} minutes, seed {options.seed}", flush=True)
    return soak(options.minutes, options.seed, options.only or list(RUNS))


if __name__ == "__main__":
    sys.exit(main())
