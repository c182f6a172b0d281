"""What the benchmark of the data plane makes of what it measured."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.programs import BENCH, load, load_part

results = load("results")
load("generations")
figures = load_part("figures")
cases = load_part("cases")
packages = load_part("packages")
table = load_part("table")

rates = st.lists(st.floats(1, 1e6), min_size=1, max_size=7)


def numbers_of(**values: list[float]) -> Any:
    """Requests a second of one case, contestant by contestant."""
    numbers = figures.Numbers()
    for name, rounds in values.items():
        for value in rounds:
            numbers.add("echo", name, {"requests": value, "p99": 1.0})
    return numbers


@given(st.lists(st.tuples(st.floats(1, 1e6), st.floats(0.1, 10)), min_size=1, max_size=7))
def test_ratios_are_told_round_by_round(rounds: list[tuple[float, float]]) -> None:
    """Load that slows one round slows both, and the ratio stays what it was in that round."""
    numbers = numbers_of(ours=[rate * times for rate, times in rounds], direct=[rate for rate, _ in rounds])
    assert numbers.ratios("echo", "ours", "direct") == pytest.approx([times for _, times in rounds])


@given(rates)
def test_what_is_written_is_read_back(rounds: list[float]) -> None:
    """The figures of a run give the same table again, to the digits that are kept."""
    numbers = numbers_of(ours=rounds, direct=rounds)
    again = figures.Numbers.of(numbers.figures())
    assert again.values.keys() == numbers.values.keys()
    assert again.values["echo", "ours", "requests"] == pytest.approx(rounds, rel=1e-3)


def test_a_later_run_takes_the_place_of_a_case() -> None:
    """Contestants of different runs are never compared with each other."""
    numbers = numbers_of(ours=[1.0], direct=[2.0])
    numbers.add("bulk", "ours", {"throughput": 9.0})
    numbers.replace(numbers_of(ours=[3.0]))
    assert numbers.contestants("echo") == ["ours"]
    assert numbers.values["bulk", "ours", "throughput"] == [9.0]


def test_former_runs_are_told_again(tmp_path: Path) -> None:
    """`--read` prints the table of what was written, and measures nothing."""
    files = [tmp_path / "first.json", tmp_path / "second.json"]
    for file, rate in zip(files, (1.0, 2.0), strict=True):
        results.Results("dataplane", numbers_of(ours=[rate]).figures()).write(file)
    argv = [sys.executable, str(BENCH / "dataplane.py"), "--read", *map(str, files)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() == table.table(numbers_of(ours=[2.0])).strip()


def test_a_table_has_the_best_first() -> None:
    """Contestants are sorted by their medians, and compared with those references that took part."""
    text = table.table(numbers_of(slow=[1, 1, 99], direct=[4, 4, 4], fast=[9, 8, 9])).splitlines()
    assert [line.split()[0] for line in text[1:]] == ["echo", "fast", "direct", "slow"]
    assert "x direct" in text[1]
    assert "docker-proxy" not in text[1]


def test_every_case_has_a_name_of_its_own() -> None:
    """A name stands for one case, in the results and in `--only`."""
    names = [case.name for case in (*cases.TRAFFIC, *cases.crowds(), *cases.FLOWS)]
    assert len(names) == len(set(names))
    assert cases.chosen(cases.TRAFFIC, ["UDP 64 B"]) == [
        case for case in cases.TRAFFIC if case.size == 64 and case.mode == "udp"
    ]


def test_bulk_is_told_in_seconds_of_cpu_for_each_gigabyte() -> None:
    """Two GB in four seconds with one second of CPU are 500 MB/s at half a second for each GB."""
    run = {"bytes": 2_000_000_000, "seconds": 4.0}
    found = cases.numbers(cases.TRAFFIC[0], run, 1.0, 3.0)
    assert found == {"throughput": 500.0, "cpu": 0.5, "machine": 1.5}


def test_a_peer_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer whose packages could not be fetched is missing, and the text says which they are."""
    monkeypatch.setattr(packages, "ROOT", tmp_path)
    with pytest.raises(
        packages.Missing, match="nginx is left out: apt-get download nginx libnginx-mod-stream"
    ):
        packages.program("nginx")
