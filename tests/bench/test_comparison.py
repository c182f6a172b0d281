"""What moved between two runs of a benchmark, and what is noise."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.programs import BENCH, load

results = load("results")
comparison = load("comparison")
Verdict = comparison.Verdict
MACHINE = {"cores": 2, "kernel": "6.18"}

amounts = st.floats(0.01, 1e6)
directions = st.sampled_from(["higher", "lower"])
rounds = st.lists(amounts, min_size=1, max_size=9)


def figure(
    values: list[float], better: str = "lower", name: str = "f", relative_to: str | None = None
) -> Any:
    """A figure in milliseconds, or a ratio."""
    return results.Figure(name, "ms" if relative_to is None else "ratio", better, tuple(values), relative_to)


def run(*figures: Any, machine: Any = MACHINE) -> Any:
    """A run that measured these."""
    return results.Results("b", figures, machine=machine)


@given(st.lists(st.tuples(rounds, directions), min_size=1, max_size=5))
def test_a_file_holds_all_there_is(tmp_path_factory: pytest.TempPathFactory, drawn: Any) -> None:
    """Results are read back as they were written."""
    told = run(*(figure(values, better, f"f{number}") for number, (values, better) in enumerate(drawn)))
    path = tmp_path_factory.mktemp("results") / "deep" / "b.json"
    told.write(path)
    assert results.Results.parse(path.read_text()) == told


def test_a_figure_without_values_is_refused() -> None:
    """A figure without rounds, with an unknown direction, or of a name that is taken is refused."""
    with pytest.raises(ValueError, match="f needs values"):
        figure([])
    with pytest.raises(ValueError, match="'more'"):
        figure([1.0], "more")
    with pytest.raises(ValueError, match="not unique"):
        run(figure([1.0]), figure([2.0]))


def test_ratios_are_taken_round_by_round() -> None:
    """A ratio is of two values of the same round, not of two medians."""
    told = results.ratios("f", [2.0, 30.0], [1.0, 10.0], "cni", "lower")
    assert (told.values, told.relative_to, told.portable) == ((2.0, 3.0), "cni", True)


@given(rounds, directions)
def test_the_same_again_has_not_moved(values: list[float], better: str) -> None:
    """A run that is compared with itself is steady, whatever its figures."""
    assert comparison.judge(figure(values, better), figure(values, better)) is Verdict.STEADY


@given(rounds, rounds, directions)
def test_back_is_the_reverse(old: list[float], new: list[float], better: str) -> None:
    """What gets better one way does not get better the other way as well."""
    there = comparison.judge(figure(old, better), figure(new, better))
    back = comparison.judge(figure(new, better), figure(old, better))
    assert there is Verdict.STEADY or back is not there


@given(rounds, rounds)
def test_direction_decides_what_is_worse(old: list[float], new: list[float]) -> None:
    """The same move is better where more is better, and worse where less is."""
    swapped = {Verdict.STEADY: Verdict.STEADY, Verdict.WORSE: Verdict.BETTER, Verdict.BETTER: Verdict.WORSE}
    lower = comparison.judge(figure(old, "lower"), figure(new, "lower"))
    assert comparison.judge(figure(old, "higher"), figure(new, "higher")) is swapped[lower]


@given(st.lists(amounts, min_size=2, max_size=9), st.floats(1.3, 50), directions)
def test_all_rounds_far_away_have_moved(values: list[float], factor: float, better: str) -> None:
    """When every round is beyond the old ones by more than all their spread, the figure moved."""
    distance = factor * max(values) + 4 * (max(values) - min(values))
    moved = comparison.judge(figure(values, better), figure([each + distance for each in values], better))
    assert moved is (Verdict.BETTER if better == "higher" else Verdict.WORSE)


def test_a_peer_is_not_judged() -> None:
    """What a peer does may change as it will."""
    assert comparison.judge(figure([1.0], "neither"), figure([9.0], "neither")) is Verdict.STEADY


@pytest.mark.parametrize(
    ("old", "new", "verdict"),
    [
        ([100, 101, 102], [103, 104, 105], Verdict.STEADY),  # apart, but by 3 % only
        ([100, 101, 102], [110, 111, 112], Verdict.WORSE),
        ([100, 101, 102], [90, 91, 92], Verdict.BETTER),
        ([100, 101, 150], [120, 121, 122], Verdict.STEADY),  # a round of the old is above the new ones
        ([60, 100, 140], [141, 142, 143], Verdict.STEADY),  # the rounds differ by more than the medians
        ([100], [108], Verdict.STEADY),  # one round alone needs twice the distance
        ([100], [111], Verdict.WORSE),
        ([0, 0], [1, 1], Verdict.WORSE),
        ([3], [0], Verdict.BETTER),
    ],
)
def test_noise_has_not_moved(old: list[float], new: list[float], verdict: Any) -> None:
    """A move counts where medians are apart by 5 % and the deviations, and rounds do not mix."""
    assert comparison.judge(figure(old), figure(new)) is verdict


def test_ratios_come_first() -> None:
    """Ratios are told before absolute figures, and the worse before the better."""
    old = run(figure([1.0], name="a"), figure([1.0], name="b", relative_to="x"), figure([1.0], name="c"))
    new = run(figure([0.5], name="a"), figure([0.5], name="b", relative_to="x"), figure([2.0], name="c"))
    assert [each.figure.name for each in comparison.compare(old, new)] == ["b", "c", "a"]


def test_figures_that_only_one_run_has() -> None:
    """What is gone or new is told, and is no judgement."""
    found = comparison.compare(run(figure([1.0], name="old")), run(figure([1.0], name="new")))
    assert {each.figure.name: each.verdict for each in found} == {"old": Verdict.GONE, "new": Verdict.NEW}


def test_another_machine_is_compared_by_its_ratios() -> None:
    """Milliseconds of another machine are not judged, and ratios and counts are."""
    slow = (figure([9.0], name="time"), figure([9.0], name="share", relative_to="cni"))
    left = (
        results.Figure("left", "count", "lower", (0.0,)),
        results.Figure("left", "count", "lower", (7.0,)),
    )
    quick = (figure([1.0], name="time"), figure([1.0], name="share", relative_to="cni"))
    found = comparison.compare(run(*quick, left[0]), run(*slow, left[1], machine={"cores": 64}))
    verdicts = {each.figure.name: each.verdict for each in found}
    assert verdicts == {"time": Verdict.ELSEWHERE, "share": Verdict.WORSE, "left": Verdict.WORSE}


def program(*arguments: Path) -> subprocess.CompletedProcess[str]:
    """Run the command."""
    argv = [sys.executable, str(BENCH / "compare.py"), *map(str, arguments)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, env=os.environ | {"LC_ALL": "C"})


def test_the_command_fails_where_something_got_worse(tmp_path: Path) -> None:
    """It exits 1 and names the figure that got worse; the other way round, and with itself, it exits 0."""
    run(figure([1.0, 1.0])).write(tmp_path / "old" / "b.json")
    run(figure([2.0, 2.0])).write(tmp_path / "new" / "b.json")
    worse = program(tmp_path / "old", tmp_path / "new")
    assert (worse.returncode, worse.stdout.split()[:4]) == (1, ["worse", "+100%", "b:", "f:"])
    assert program(tmp_path / "new", tmp_path / "old").returncode == 0
    assert program(tmp_path / "new", tmp_path / "new" / "b.json").returncode == 0


def test_the_command_says_what_it_cannot_read(tmp_path: Path) -> None:
    """What is no file, no revision, no results, or without a common benchmark is said."""
    (tmp_path / "b.json").write_text("[]")
    (tmp_path / "empty").mkdir()
    assert "neither a path nor a revision" in program(tmp_path / "nowhere").stderr
    assert "something other than results" in program(tmp_path / "b.json", tmp_path / "b.json").stderr
    assert program(tmp_path / "empty", tmp_path / "empty").returncode == 2
