"""Numbers as a table to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from plane.figures import KINDS, REFERENCES, Numbers, spread

NAME, CELL = 28, 13


def table(numbers: Numbers) -> str:
    """A paragraph for each case: medians, the main figure's spread over the rounds, and its ratios."""
    return "\n".join(line for case in numbers.cases() for line in _paragraph(numbers, case))


def _paragraph(numbers: Numbers, case: str) -> Iterator[str]:
    kinds, names = numbers.kinds(case), numbers.contestants(case)
    known = [reference for reference in REFERENCES if reference in names]
    first, *more = [f"{kind} {KINDS[kind].unit}" for kind in kinds]
    titles = [first, "spread", *(f"x {each}" for each in known), *more]
    yield ""
    yield _line(case, titles, titles)
    for name in names:
        main = numbers.values[case, name, kinds[0]]
        quotients = [numbers.ratios(case, name, reference) for reference in known]
        others = [_cell(numbers.values.get((case, name, kind), ()), KINDS[kind].form) for kind in kinds[1:]]
        ratios = [_cell(each, ".2f") for each in quotients]
        yield _line(
            name, [_cell(main, KINDS[kinds[0]].form), f"{spread(main):.0%}", *ratios, *others], titles
        )


def _line(name: str, cells: Sequence[str], titles: Sequence[str]) -> str:
    widths = (max(CELL, len(title)) for title in titles)
    return f"{name:{NAME}}" + "".join(f" {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def _cell(values: Sequence[float], form: str) -> str:
    return format(median(values), form) if values else "-"
