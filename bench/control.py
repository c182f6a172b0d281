"""Connecting a container and publishing two ports, against netavark and CNI: `python bench/control.py`.

Every contestant has a network namespace of its own. At each fill the contestants take turns, round by round, at
connecting one more container with a TCP and a UDP port, and taking it back.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from typing import NamedTuple, Protocol

from options import make_parser, positive
from plane.say import say
from results import Better, Figure, Results, ratios
from rooms import Container, Room, go_private, is_private
from service import Service

import peers
from moorage import Client

SUBNET = "10.98.0.1/16"
CLI = Path(__file__).resolve().parent.parent / "bin" / "moorage"
FILLS, QUICK_FILLS = (0, 100, 500), (0, 2)
NAMES = ("moorage", "moorage-cli", *peers.NAMES, *peers.NEWER_NAMES)


class Contestant(Protocol):
    """Something that connects containers; `serial` sets the host ports of different containers apart."""

    name: str

    def add(self, container: Container, serial: int) -> None:
        """Connect a container and publish its ports."""

    def remove(self, container: Container, serial: int) -> None:
        """Take it back."""

    def close(self) -> None:
        """Give back what it holds."""


class Moorage:
    """An agent, and a client whose connection stays open, as that of a daemon would."""

    name = "moorage"

    def __init__(self, directory: Path) -> None:
        """Start the agent."""
        home = directory / "moorage"
        home.mkdir()
        self._exit = ExitStack()
        room = Room()
        self._exit.callback(room.close)
        self.service = self._exit.enter_context(Service(room, home, subnet=SUBNET))
        self._client = self._exit.enter_context(Client(self.service.socket))

    def add(self, container: Container, serial: int) -> None:
        """Connect a container and publish its ports."""
        self._client.allocate(container.name, netns=str(container.path), ports=specs(serial))

    def remove(self, container: Container, serial: int) -> None:  # noqa: ARG002 - the agent knows the ports
        """Take it back."""
        self._client.release(container.name)

    def close(self) -> None:
        """End the agent."""
        self._exit.close()


class CommandLine:
    """The same agent by way of its command line: a process for each step, as with the others."""

    name = "moorage-cli"

    def __init__(self, service: Service) -> None:
        """Use a running agent."""
        self._socket = str(service.socket)

    def add(self, container: Container, serial: int) -> None:
        """Connect a container and publish its ports."""
        ports = [option for spec in specs(serial) for option in ("-p", spec)]
        self._run("allocate", container.name, "--netns", str(container.path), *ports)

    def remove(self, container: Container, serial: int) -> None:  # noqa: ARG002 - the agent knows the ports
        """Take it back."""
        self._run("release", container.name)

    def close(self) -> None:
        """Nothing to give back."""

    def _run(self, *arguments: str) -> None:
        argv = [str(CLI), *arguments, "--socket", self._socket]
        subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)


class Row(NamedTuple):
    """One contestant at one fill, in milliseconds, round by round."""

    contestant: str
    attached: int
    set_ups: tuple[float, ...]
    releases: tuple[float, ...]

    @property
    def totals(self) -> tuple[float, ...]:
        """Both together."""
        return tuple(up + down for up, down in zip(self.set_ups, self.releases, strict=True))


class Course:
    """The contestants with the containers they hold; those that share a host are filled once."""

    def __init__(self, contestants: Sequence[Contestant]) -> None:
        """Begin with nothing attached."""
        self._contestants = contestants
        self._held: dict[str, list[Container]] = {each.name: [] for each in contestants}

    def fill(self, attached: int) -> None:
        """Connect containers until every host has that many."""
        for contestant in self._contestants:
            held = self._held[contestant.name]
            while len(held) < attached and not isinstance(contestant, CommandLine):
                serial = len(held) + 1
                held.append(Container(f"{contestant.name}-{serial}"))
                contestant.add(held[-1], serial)
            say(f"{contestant.name}: {len(held)} attached")

    def run(self, attached: int, rounds: int) -> list[Row]:
        """Measure every contestant, in turns, `rounds` times and once to warm up."""
        times: dict[str, list[tuple[float, float]]] = {each.name: [] for each in self._contestants}
        for number in range(rounds + 1):
            for contestant in self._contestants:
                spent = turn(contestant)
                if number:
                    times[contestant.name].append(spent)
        return [Row(name, attached, *zip(*spent, strict=True)) for name, spent in times.items()]


def specs(serial: int) -> list[str]:
    """The measured ports in our notation."""
    return [f"{host}:{inside}/{proto}" for host, inside, proto in peers.host_ports(serial)]


def turn(contestant: Contestant) -> tuple[float, float]:
    """Connect a container and take it back; milliseconds of each."""
    container = Container(f"{contestant.name}-measured")
    try:
        up = timed(lambda: contestant.add(container, 0))
        return up, timed(lambda: contestant.remove(container, 0))
    finally:
        container.remove()


def timed(work: Callable[[], object]) -> float:
    """Milliseconds that it takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


def churn(contestant: Moorage, cycles: int) -> dict[str, float]:
    """What the agent grows by when containers come and go, after a tenth of them to warm up."""
    for _ in range(cycles // 10):
        turn(contestant)
    before = contestant.service.memory()[0]
    for _ in range(cycles):
        turn(contestant)
    grown = contestant.service.memory()[0] - before
    return {"cycles": cycles, "rss_growth_kib": grown, "bytes_per_cycle": grown * 1024 / cycles}


def weigh(before: tuple[int, int], after: tuple[int, int], attached: int) -> dict[str, float]:
    """Memory of the agent, KiB, in all and for each container."""
    return {
        "rss_kib": after[0],
        "pss_kib": after[1],
        "rss_per_container_kib": (after[0] - before[0]) / attached,
        "pss_per_container_kib": (after[1] - before[1]) / attached,
    }


def enter(names: Sequence[str], directory: Path, leaving: ExitStack) -> list[Contestant]:
    """Start the contestants of these names; the command line uses the agent that is there."""
    entered: list[Contestant] = []
    for name in names:
        match name:
            case "moorage":
                entered.append(Moorage(directory))
            case "moorage-cli":
                entered.append(CommandLine(_ours(entered).service))
            case _:
                entered.append(peers.enter(name, directory))
        leaving.callback(entered[-1].close)
    return entered


def _ours(contestants: Sequence[Contestant]) -> Moorage:
    found = next((each for each in contestants if isinstance(each, Moorage)), None)
    if found is None:
        raise SystemExit("moorage itself must be among the contestants")
    return found


class Measured(NamedTuple):
    """All of a run."""

    rows: list[Row]
    memory: dict[str, float]
    churn: dict[str, float]


def measure(options: argparse.Namespace) -> Measured:
    """Everything."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as leaving:
        contestants = enter(options.only, Path(name), leaving)
        ours, course = _ours(contestants), Course(contestants)
        rows: list[Row] = []
        before = ours.service.memory()
        for attached in options.fills:
            course.fill(attached)
            rows += course.run(attached, options.rounds)
        memory = weigh(before, ours.service.memory(), max(1, *options.fills))
        return Measured(rows, memory, churn(ours, options.churn) if options.churn else {})


def figures(measured: Measured) -> Iterator[Figure]:
    """As they are kept: ratios to ours, each contestant's times, what the agent weighs."""
    ours = {row.attached: row for row in measured.rows if row.contestant == "moorage"}
    for row in measured.rows:
        if row.contestant != "moorage":
            better: Better = "lower" if row.contestant == "moorage-cli" else "higher"
            name = f"{row.attached} attached/both/{row.contestant} to moorage"
            yield ratios(name, row.totals, ours[row.attached].totals, "moorage", better)
    for row in measured.rows:
        better = "lower" if row.contestant.startswith("moorage") else "neither"
        for what, values in (("set-up", row.set_ups), ("release", row.releases)):
            yield Figure(f"{row.attached} attached/{what}/{row.contestant}", "ms", better, values)
    for what, value in measured.memory.items():
        yield Figure(f"memory/{what.removesuffix('_kib')}/moorage", "KiB", "lower", (value,))
    if measured.churn:
        grown = (measured.churn["bytes_per_cycle"],)
        yield Figure("churn/bytes for each container/moorage", "B", "lower", grown)


def show(measured: Measured) -> None:
    """Print the tables."""
    ours = {row.attached: median(row.totals) for row in measured.rows if row.contestant == "moorage"}
    print(f"{'attached':>8}  {'contestant':14} {'set-up ms':>10} {'release ms':>10} {'x ours':>7}")
    for row in measured.rows:
        ratio = median(row.totals) / ours[row.attached]
        up, down = median(row.set_ups), median(row.releases)
        print(f"{row.attached:8}  {row.contestant:14} {up:10.1f} {down:10.1f} {ratio:7.1f}")
    last = max(ours)
    print(f"\nours with {last} attached is {ours[last] / ours[min(ours)]:.2f} times ours with {min(ours)}")
    for title, section in (("memory", measured.memory), ("churn", measured.churn)):
        for key, value in section.items():
            print(f"{title} {key}: {value:,.1f}")


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = make_parser(__doc__, "two containers, one round")
    parser.add_argument(
        "--rounds", type=positive, default=7, help="how many times each is measured at each fill"
    )
    parser.add_argument("--fills", type=int, nargs="+", default=FILLS, help="containers attached meanwhile")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="contestants")
    parser.add_argument("--churn", type=positive, default=0, metavar="N", help="then look for leaks, N times")
    options = parser.parse_args()
    if options.quick:
        options.fills, options.rounds = QUICK_FILLS, 1
    return options


def main() -> None:
    """Fetch the others, go private, measure."""
    options = arguments()
    if not is_private():
        peers.fetch_all(options.only)
    go_private()
    measured = measure(options)
    if options.json:
        Results("control", tuple(figures(measured)), peers.versions(options.only)).write(options.json)
    show(measured)


if __name__ == "__main__":
    main()
