"""What moved between two sets of results, beyond the noise of their rounds: `python bench/compare.py [OLD [NEW]]`.

Either is a directory, a file of results, or a revision of git whose `bench/results` is meant. Without them the last
commit's are compared with those in the directory. Exits 1 when something got worse, 2 when there is nothing to compare.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

from comparison import Finding, Verdict, compare
from results import DIRECTORY, Results

REPOSITORY = DIRECTORY.parent.parent
NOTHING = 2
"""The exit code without a comparison, which 1 would be the result of."""
STORED = f"{DIRECTORY.relative_to(REPOSITORY)}/"


def read(place: str) -> dict[str, Results]:
    """Results by benchmark, of a file, a directory or a revision. Exits with 2 where that holds something else."""
    path = Path(place)
    texts = _files(path) if path.exists() else _revision(place)
    try:
        parsed = [Results.parse(text) for text in texts]
    except (ValueError, KeyError, TypeError, AttributeError):
        _give_up(f"{place} holds something other than results of a benchmark")
    return {each.benchmark: each for each in parsed}


def _files(path: Path) -> Iterator[str]:
    for file in sorted(path.glob("*.json")) if path.is_dir() else [path]:
        yield file.read_text()


def _revision(revision: str) -> Iterator[str]:
    listed = _git("ls-tree", "--name-only", "--end-of-options", revision, STORED)
    for name in filter(lambda name: name.endswith(".json"), listed.splitlines()):
        yield _git("show", "--end-of-options", f"{revision}:{name}")


def _git(*arguments: str) -> str:
    argv = ["git", *arguments]
    try:
        done = subprocess.run(argv, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        _give_up("neither a path nor a revision: git, which knows the revisions, is not installed")
    if done.returncode:
        _give_up(f"neither a path nor a revision: {done.stderr.strip()}")
    return done.stdout


def _give_up(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    raise SystemExit(NOTHING)


def findings(old: Mapping[str, Results], new: Mapping[str, Results]) -> list[Finding]:
    """Of all benchmarks that are in both. Exits with 2 where none is."""
    common = [name for name in old if name in new]
    if not common:
        _give_up("no benchmark is in both")
    return [found for name in common for found in compare(old[name], new[name])]


def show(found: list[Finding], everything: bool) -> None:
    """Print what moved, or all, and how many of each there are."""
    for each in found:
        if everything or each.verdict < Verdict.STEADY:
            print(line(each))
    counts = {verdict: sum(each.verdict is verdict for each in found) for verdict in Verdict}
    print(", ".join(f"{count} {verdict.name.lower()}" for verdict, count in counts.items() if count))


def line(found: Finding) -> str:
    """One figure: verdict, change, medians and the range of rounds."""
    change = "" if found.change is None else f"{found.change:+.0%}"
    both = " -> ".join(
        f"{each.median:g} ({min(each.values):g}..{max(each.values):g})"
        for each in (found.old, found.new)
        if each is not None
    )
    figure = found.figure
    unit = figure.unit if figure.relative_to is None else f"x {figure.relative_to}"
    verdict = found.verdict.name.lower()
    return (
        f"{verdict:9} {change:>6}  {found.benchmark}: {figure.name}: {both} {unit}, {figure.better} is better"
    )


def main() -> None:
    """Compare, and exit 1 when something got worse."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", nargs="?", default="HEAD", help="directory, file or revision (HEAD)")
    parser.add_argument("new", nargs="?", default=str(DIRECTORY), help="the same (bench/results)")
    parser.add_argument("--all", action="store_true", help="print what did not move as well")
    options = parser.parse_args()
    found = findings(read(options.old), read(options.new))
    show(found, options.all)
    sys.exit(any(each.verdict is Verdict.WORSE for each in found))


if __name__ == "__main__":
    main()
