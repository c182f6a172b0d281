"""The data plane beside its peers: `python bench/dataplane.py`.

Every contestant has a host, a container and a client of its own, in private namespaces. At each case the contestants
take turns, round by round, and every byte that is moved is checked.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from plane import packages, rounds
from plane.cases import CASES, Case
from plane.contestants import BUILDERS, assembled
from plane.generator import Load
from plane.packages import Missing
from plane.table import as_json, as_text
from rooms import go_private, is_private

SLOT, QUICK_SLOT = 500, 50
"""Milliseconds of one run."""


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--quick", action="store_true", help="a smoke run: one round of short slots")
    parser.add_argument("--rounds", type=int, default=5, help="how many times each is measured")
    parser.add_argument("--slot", type=int, default=SLOT, metavar="MS", help="how long each time")
    parser.add_argument("--only", nargs="+", metavar="CASE", help="cases whose names begin so")
    parser.add_argument("--contestants", nargs="+", choices=BUILDERS, default=list(BUILDERS))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.slot = 1, QUICK_SLOT
    return options


def chosen(only: list[str] | None) -> list[Case]:
    """The cases whose names begin with one of these."""
    cases = [case for case in CASES if only is None or case.name.startswith(tuple(only))]
    if not cases:
        raise SystemExit("no such case; there are: " + "; ".join(case.name for case in CASES))
    return cases


def main() -> None:
    """Go private, measure, tell."""
    options = arguments()
    cases = chosen(options.only)
    if not is_private():
        packages.fetch(options.contestants)
    go_private()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            load = Load(Path(scratch))
        except Missing as missing:
            raise SystemExit(str(missing)) from None
        with assembled(options.contestants, load, Path(scratch)) as contestants:
            results = rounds.run(load, contestants, cases, options.rounds, options.slot)
    if options.json:
        options.json.write_text(json.dumps(as_json(results, cases), indent=1))
    print(as_text(results, cases))


if __name__ == "__main__":
    main()
