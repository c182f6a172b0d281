"""The data plane beside its peers: `python bench/dataplane.py`.

Every contestant has a host, a container and a client of its own, in private namespaces. At each case the contestants
take turns, round by round, and every byte that is moved is checked.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from options import make_parser, positive
from plane import packages
from plane.cases import FLOWS, TRAFFIC, Case, chosen, crowds
from plane.contestants import BUILDERS, Contestant, Setting, assembled, crowded
from plane.figures import Numbers
from plane.generator import Load
from plane.packages import Missing
from plane.plot import plot
from plane.ports import PUBLISHERS, publish_all
from plane.rounds import Rounds
from plane.table import table
from results import Results
from rooms import go_private, is_private

import peers

SLOT, QUICK_SLOT = 500, 50
"""Milliseconds of one run."""
WARM_UP, QUICK_WARM_UP = 100, 10
"""Milliseconds of the one before."""
LEVELS, QUICK_LEVELS = (10, 1_000, 10_000, 60_000), (10,)
"""Published ports, for the rate of new flows."""
PORTS, QUICK_PORTS = (1, 1_000, 10_000), (1, 10)
"""Ports published at once."""
NAMES = (*BUILDERS, *(name for name in PUBLISHERS if name not in BUILDERS))


class Bench:
    """What was asked for, and the numbers so far."""

    def __init__(self, options: argparse.Namespace, load: Load, directory: Path) -> None:
        """Begin with none."""
        self._options = options
        self._load = load
        self._directory = directory
        self.numbers = Numbers()

    def run(self) -> None:
        """Measure all that was asked for."""
        *some, most = crowds()[: 2 if self._options.quick else None]
        # the greatest crowd last of all: not everybody survives it
        self._traffic([chosen(cases, self._options.only) for cases in ((*TRAFFIC, *some), (most,))])
        self._flows(chosen(FLOWS, self._options.only))
        if any("ports".startswith(each) for each in self._options.only or ["ports"]):
            self._ports()

    def _traffic(self, series: Sequence[Sequence[Case]]) -> None:
        builders = [build for name, build in BUILDERS.items() if name in self._options.contestants]
        if any(series):
            with self._setting() as setting:
                contestants = assembled(builders, setting)
                for cases in series:
                    self._rounds(contestants, cases)

    def _flows(self, cases: Sequence[Case]) -> None:
        levels = QUICK_LEVELS if self._options.quick else LEVELS
        choices = [choice for level in levels for choice in crowded(level).items()]
        builders = [build for name, build in choices if name in self._options.contestants]
        if cases:
            with self._setting() as setting:
                self._rounds(assembled(builders, setting), cases)

    def _rounds(self, contestants: Sequence[Contestant], cases: Sequence[Case]) -> None:
        if cases:
            warm_up = QUICK_WARM_UP if self._options.quick else WARM_UP
            rounds = Rounds(self._load, contestants, self._options.slot, warm_up, self.numbers)
            rounds.run(cases, self._options.rounds)

    def _ports(self) -> None:
        names = [name for name in PUBLISHERS if name in self._options.contestants]
        levels = QUICK_PORTS if self._options.quick else PORTS
        for _ in range(min(self._options.rounds, 3)):
            publish_all(names, levels, self._setting, self.numbers)

    @contextmanager
    def _setting(self) -> Iterator[Setting]:
        with tempfile.TemporaryDirectory(dir=self._directory) as name, ExitStack() as leaving:
            yield Setting(self._load, Path(name), leaving)


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = make_parser(__doc__, "one round of short slots")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them (SVG), which needs matplotlib")
    parser.add_argument(
        "--read",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="tell what former runs wrote, the last of each case",
    )
    parser.add_argument("--rounds", type=positive, default=5, help="how many times each is measured")
    parser.add_argument("--slot", type=positive, default=SLOT, metavar="MS", help="how long each time")
    parser.add_argument(
        "--only", nargs="+", metavar="CASE", help=f"cases whose names begin so: {', '.join(case_names())}"
    )
    parser.add_argument("--contestants", nargs="+", choices=NAMES, default=list(NAMES))
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.slot = 1, QUICK_SLOT
    if options.only and not any(name.startswith(tuple(options.only)) for name in case_names()):
        parser.error(f"no case begins with {' or '.join(options.only)}")
    return options


def case_names() -> list[str]:
    """All there are."""
    return [*(case.name for case in (*TRAFFIC, *crowds(), *FLOWS)), "ports"]


def fetch(names: Sequence[str]) -> None:
    """Get the peers that are not there yet, as far as they can be had."""
    packages.fetch(names)
    with suppress(OSError):
        peers.fetch_all([*names, *(["netavark"] if "iptables" in names else [])])


def measure(options: argparse.Namespace) -> Numbers:
    """Fetch the peers, go private, measure."""
    if not is_private():
        fetch(options.contestants)
    go_private()
    with tempfile.TemporaryDirectory() as scratch:
        try:
            bench = Bench(options, Load(Path(scratch)), Path(scratch))
        except Missing as missing:
            raise SystemExit(str(missing)) from None
        bench.run()
    for (case, name), text in bench.numbers.failures.items():
        print(f"{name} is left out of {case}: {text}")
    return bench.numbers


def read(files: Iterable[Path]) -> Numbers:
    """What former runs wrote, the last of each case. Exits with a sentence where one holds no results."""
    numbers = Numbers()
    for file in files:
        try:
            numbers.replace(Numbers.of(Results.parse(file.read_text()).figures))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise SystemExit(f"{file} holds no results of this benchmark: {error}") from None
    return numbers


def main() -> None:
    """Measure, or read what was measured, and tell."""
    options = arguments()
    numbers = read(options.read) if options.read else measure(options)
    print(table(numbers))
    if options.json:
        Results("dataplane", numbers.figures(), packages.versions()).write(options.json)
    if options.plot:
        plot(numbers, options.plot)


if __name__ == "__main__":
    main()
