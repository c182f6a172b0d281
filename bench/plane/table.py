"""Results as a table to read, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any

from plane.cases import FIGURES, Case, Figure, rate_of
from plane.rounds import Results

REFERENCES = ("docker-proxy", "direct")
"""What ratios are told against."""


def as_text(results: Results, cases: Sequence[Case]) -> str:
    """A paragraph for each case: medians, spreads and ratios."""
    return "\n".join(line for case in cases for line in _paragraph(results, case))


def _paragraph(results: Results, case: Case) -> Iterator[str]:
    names = contestants(results, case)
    yield (
        f"\n{case.name:24} {rate_of(case).unit:>10} {'spread':>7} {'x docker':>8} {'x direct':>8}"
        f" {'p99 µs':>9} {'cpu':>7} {'machine':>7}"
    )
    for name in names:
        values = results.values[case.name, name, "rate"]
        found = [results.values.get((case.name, name, figure)) for figure in ("p99", "cpu", "machine")]
        ratios = [ratio(results, case.name, name, reference) for reference in REFERENCES]
        yield (
            f"{name:24} {median(values):10,.1f} {spread(values):6.0%} "
            + " ".join(f"{cell(each, '.2f'):>8}" for each in ratios)
            + f" {cell(found[0] and median(found[0]), '.0f'):>9}"
            + "".join(f" {cell(each and median(each), '.2f'):>7}" for each in found[1:])
        )


def contestants(results: Results, case: Case) -> list[str]:
    """Who has figures for it, in the order they came."""
    return [name for at, name, figure in results.values if at == case.name and figure == "rate"]


def cell(value: float | None, form: str) -> str:
    """A number, or a dash for none."""
    return "-" if value is None else format(value, form)


def spread(values: Sequence[float]) -> float:
    """From the least to the most, as a share of the median."""
    middle = median(values)
    return (max(values) - min(values)) / middle if middle else 0.0


def ratio(results: Results, case: str, name: str, reference: str) -> float | None:
    """The median of the rounds' ratios to a reference, as it fared in the same round."""
    theirs = results.values.get((case, reference, "rate"))
    if theirs is None:
        return None
    pairs = zip(results.values[case, name, "rate"], theirs, strict=False)
    ratios = [mine / other for mine, other in pairs if other]
    return median(ratios) if ratios else None


def as_json(results: Results, cases: Sequence[Case]) -> dict[str, Any]:
    """All of it, for programs."""
    known = {case.name: case for case in cases}
    return {
        "benchmark": "dataplane",
        "figures": [_figure(known[key[0]], key, values) for key, values in results.values.items()],
        "failures": [f"{name}, {case}: {text}" for (case, name), text in results.failures.items()],
    }


def _figure(case: Case, key: tuple[str, str, str], values: list[float]) -> dict[str, Any]:
    what: Figure = rate_of(case) if key[2] == "rate" else FIGURES[key[2]]
    return {
        "name": f"{case.name}/{key[2]}/{key[1]}",
        "unit": what.unit,
        "better": what.better,
        "values": values,
        "median": median(values),
    }
