"""What is left when programs and containers die, and what proxies do in want: `python bench/reliability.py`.

Every contestant has a host of its own in each round, and goes through the same history: containers whose connecting,
or taking back, is killed at drawn moments, and containers that end without a word. Proxies are tried as publishers
of ports: what they take, and what becomes of connections.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from statistics import median

from dying.contestants import GRACE, enter
from dying.history import Account, History
from dying.publishers import publisher
from dying.trials import TRIALS, Size, killed
from options import make_parser, positive
from plane import packages
from plane.say import say
from results import COUNT, Figure, Results, ratios
from rooms import go_private, is_private

import peers

CONNECTORS = ("moorage", *peers.NAMES, *peers.NEWER_NAMES)
PUBLISHERS = ("moorage", "moorage-kernel", *packages.DOCKER_PROXIES)
NAMES = tuple(dict.fromkeys((*CONNECTORS, *PUBLISHERS)))
FULL = Size(ports=(1, 100, 1_000), idle=1_000, crowd=200, window=2.0, tries=20)
QUICK = Size(ports=(1, 3), idle=10, crowd=40, window=0.2, tries=2)
EACH, QUICK_EACH = 10, 1
"""Containers of each of three fates."""
QUICK_GRACE = 0.2
"""Seconds for which a smoke run watches what peers have left: more than one look."""
RATIOS = ("ports/pss", "idle connection/pss", "ports/descriptors")
"""Of what the agent's share of docker-proxy's is told, by how the names end."""
Values = dict[tuple[str, str], list[float]]
"""By figure and contestant, a value for each round."""


def of_history(account: Account, each: int) -> dict[str, float]:
    """An account as figures."""
    many = 3 * each
    left, after = account.left._asdict(), account.left_after_all._asdict()
    return {
        f"{2 * each} killed/half done": account.half_done,
        **{f"{many} ended/{what} left": number for what, number in left.items()},
        f"{many} ended/settled": account.settled,
        f"{many} taken back/failed": account.refused,
        **{f"{many} taken back/{what} left": number for what, number in after.items()},
    }


def histories(
    names: Sequence[str], each: int, seed: int, grace: float
) -> Iterator[tuple[str, dict[str, float]]]:
    """A round of those that connect containers; peers are watched for `grace` seconds."""
    for name in filter(CONNECTORS.__contains__, names):
        with (
            tempfile.TemporaryDirectory() as directory,
            closing(enter(name, Path(directory), grace)) as contestant,
        ):
            told = of_history(History(contestant, each, seed).run(), each)
            # netavark's addresses are its caller's
            yield (
                name,
                {key: value for key, value in told.items() if "netavark" not in name or "address" not in key},
            )
        say(f"{name} has been through its history")


def trials(names: Sequence[str], size: Size) -> Iterator[tuple[str, dict[str, float]]]:
    """A round of those that publish ports; the kernel's way is only tried with what it is there for."""
    for trial in TRIALS:
        for name in filter(PUBLISHERS.__contains__, names):
            if name == "moorage-kernel" and trial is not killed:
                continue
            with tempfile.TemporaryDirectory() as directory, closing(publisher(name, Path(directory))) as one:
                yield name, trial(one, size)
        say(f"{trial.__name__} tried")


def measure(options: argparse.Namespace) -> Values:
    """All rounds."""
    values: Values = defaultdict(list)
    size, grace = (QUICK, QUICK_GRACE) if options.quick else (FULL, GRACE)
    for number in range(options.rounds):
        for found in (
            histories(options.only, options.each, options.seed + number, grace),
            trials(options.only, size),
        ):
            for name, figures in found:
                for what, value in figures.items():
                    values[what, name].append(value)
        say(f"round {number + 1} of {options.rounds} done")
    return values


def figures(values: Values) -> list[Figure]:
    """Values as they are kept: ratios of ours to a peer's first, then each contestant's own."""
    own = [
        Figure(
            f"{what}/{name}", unit(what), "lower" if name.startswith("moorage") else "neither", tuple(each)
        )
        for (what, name), each in values.items()
    ]
    return [*_ratios(values), *own]


def _ratios(values: Values) -> Iterator[Figure]:
    for (what, name), ours in values.items():
        for peer in packages.DOCKER_PROXIES:
            theirs = values.get((what, peer))
            if name == "moorage" and theirs and what.endswith(RATIOS) and all(each > 0 for each in theirs):
                yield ratios(f"{what}/moorage to {peer}", ours, theirs, peer, "lower")


def unit(what: str) -> str:
    """The unit of a figure, by its name."""
    match what.rpartition("/")[2]:
        case "rss" | "pss" if what.startswith("idle"):
            return "KiB"
        case "rss" | "pss" | "bytes taken":
            return "MiB"
        case "settled":
            return "s"
        case "cpu":
            return "cores"
    return COUNT


def show(values: Mapping[tuple[str, str], Sequence[float]], names: Sequence[str]) -> None:
    """Print a row for each figure, medians with the range of the rounds."""
    print(f"{'':55}" + "".join(f"{name:>22}" for name in names))
    for what in dict.fromkeys(what for what, _ in values):
        cells = (cell(values.get((what, name))) for name in names)
        print(f"{what:46} {unit(what):>8}" + "".join(f"{each:>22}" for each in cells))


def cell(values: Sequence[float] | None) -> str:
    """The median and the range, or a dash for none."""
    if not values:
        return "-"
    middle, least, most = (f"{each:.4g}" for each in (median(values), min(values), max(values)))
    return middle if least == most else f"{middle} ({least}..{most})"


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = make_parser(__doc__, "one round, few of everything")
    parser.add_argument("--rounds", type=positive, default=5, help="how many times all is done")
    parser.add_argument("--each", type=positive, default=EACH, help="containers of each of the three fates")
    parser.add_argument("--seed", type=int, default=1, help="draws the moments of the first round")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="contestants")
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.each = 1, QUICK_EACH
    return options


def fetch(names: Sequence[str]) -> None:
    """Have the peers among them. Raises OSError, or plane.packages.Missing, where they cannot be had."""
    peers.fetch_all(names)
    packages.fetch(names)
    for name in set(packages.DOCKER_PROXIES) & set(names):
        packages.program(name)


def main() -> None:
    """Fetch the others, go private, measure."""
    options = arguments()
    if not is_private():
        fetch(options.only)
    go_private()
    values = measure(options)
    if options.json:
        found = tuple(figures(values))
        Results("reliability", found, peers.versions(options.only)).write(options.json)
    show(values, options.only)


if __name__ == "__main__":
    main()
