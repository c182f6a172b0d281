"""What a soak does in turn."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import hypothesis
from hypothesis.stateful import run_state_machine_as_test

from chaos.account import Account
from chaos.dying import Dying
from chaos.killing import Killing
from chaos.linux_machine import LinuxMachine
from chaos.machine import Machine
from chaos.restarting import restart
from chaos.told import require
from lab import Lab

HERE = Path(__file__).parent

Enough = Callable[[Account], bool]
Run = Callable[[int, Path, Enough], object]


def killed_on_a_file(seed: int, directory: Path, enough: Enough) -> Account:
    """Kill the agent on a kernel in a file."""
    return Killing(directory, seed).run(enough)


def killed_on_linux(seed: int, directory: Path, enough: Enough) -> Account:
    """Kill the agent on the real kernel, with containers attached."""
    with Lab() as lab:
        return Killing(directory, seed, lab).run(enough)


def actors_die(seed: int, directory: Path, enough: Enough) -> Account:
    """Crash and hang single actors."""
    return Dying(directory, seed).run(enough)


def model(seed: int, _directory: Path, _enough: Enough) -> str:
    """Hold the agent to its model."""
    return _histories(Machine, seed, 30)


def model_on_linux(seed: int, _directory: Path, _enough: Enough) -> str:
    """Hold an agent on the real kernel to its model."""
    return _histories(LinuxMachine, seed, 5)


def _histories(machine: type[Machine | LinuxMachine], seed: int, examples: int) -> str:
    settings = hypothesis.settings(
        max_examples=examples,
        stateful_step_count=50,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    hypothesis.seed(seed)(machine)
    run_state_machine_as_test(machine, settings=settings)  # type: ignore[no-untyped-call]  # of hypothesis
    return f"seed {seed}: {examples} histories"


def restarts(_seed: int, directory: Path, _enough: Enough) -> str:
    """Start again with many mappings."""
    with Lab() as lab:
        few, many = (restart(_made(directory / str(count)), lab, count) for count in (1000, 10000))
        return f"{few}; {many}"


def _made(directory: Path) -> Path:
    directory.mkdir()
    return directory


def hostile_bytes(_seed: int, directory: Path, _enough: Enough) -> str:
    """A million mutated frames."""
    return _tests("test_hostile_bytes.py", directory)


def limits(_seed: int, directory: Path, _enough: Enough) -> str:
    """A million requests at once, and ten thousand clients as far as descriptors allow."""
    return _tests("test_limits.py", directory)


def shares(_seed: int, directory: Path, _enough: Enough) -> str:
    """Crowds of clients that would have all memory and places for themselves."""
    return _tests("test_budgets.py", directory)


def great_state(_seed: int, directory: Path, _enough: Enough) -> str:
    """A quarter of a gigabyte of labels that an earlier version wrote."""
    return _tests("test_great_state.py", directory)


def crowds(_seed: int, directory: Path, _enough: Enough) -> str:
    """Crowds at ports and the socket, with 1,024 descriptors and with twenty thousand."""
    return _tests("test_crowds.py", directory)


def _tests(file: str, directory: Path) -> str:
    """Run tests with their large numbers. Raises Violation with what they said."""
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--basetemp={directory}/tests"]
    argv += ["--timeout=1800"]  # large numbers take longer than a test may
    large = os.environ | {"MOORAGE_SOAK_MINUTES": "1"}
    done = subprocess.run([*argv, str(HERE / file)], env=large, capture_output=True, text=True, check=False)
    require(done.returncode == 0, done.stdout)
    return done.stdout.strip().rpartition("\n")[2]


RUNS: dict[str, Run] = {
    run.__name__: run
    for run in (
        *(killed_on_a_file, killed_on_linux, actors_die),
        *(model, model_on_linux, restarts, hostile_bytes, limits, shares, great_state, crowds),
    )
}

COUNTING = (killed_on_a_file.__name__, killed_on_linux.__name__, actors_die.__name__)
"""Those that go on until it is enough; the others are done when they are done."""
