"""What the agent answers in a second, how fast, and what a range of ports costs: `python bench/rpc.py`.

`allocate` is durable when it is answered, so this machine's rate of commits is measured beside it: no client that
waits for each answer can be faster.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from options import make_parser, positive
from pipeline import Pipeline
from plane.say import say
from results import Better, Figure, Results, ratios
from rooms import Room, go_private
from service import Service

SUBNET = "10.98.0.1/16"
OUTSTANDING = 256
CLIENTS = (1, 8)
RANGES = (1_000, 10_000)
FIRST_PORT = 20_000
"""Below the automatic range, and what else this machine may use."""

_names = (f"i{number}" for number in count())


def commits_per_second(directory: Path, seconds: float) -> float:
    """How often SQLite can make a small commit durable, one at a time, with the store's settings."""
    database = sqlite3.connect(directory / "calibration.db", isolation_level=None)
    database.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t(x)")
    began, done = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        database.execute("INSERT INTO t VALUES(zeroblob(300))")
        done += 1
    rate = done / (time.perf_counter() - began)
    database.close()
    return rate


def rate(service: Service, clients: int, requests: int) -> dict[str, float]:
    """Allocates per second of that many clients, each with `OUTSTANDING` under way, and then the releases."""
    names = [[next(_names) for _ in range(requests // clients)] for _ in range(clients)]
    before = service.cpu()
    allocated = _all_at_once(service, [[("allocate", {"id": each}) for each in mine] for mine in names])
    released = _all_at_once(service, [[("release", {"id": each}) for each in mine] for mine in names])
    spent = service.cpu() - before
    return {
        "allocates_per_second": allocated,
        "releases_per_second": released,
        "cpu_us_of_both": spent / len(names) / len(names[0]) * 1e6,
    }


def _all_at_once(service: Service, work: list[list[tuple[str, dict[str, Any]]]]) -> float:
    """Requests per second of a client for each list."""
    with ExitStack() as exit_stack:
        clients = [exit_stack.enter_context(Pipeline(service.socket)) for _ in work]
        threads = [
            threading.Thread(target=client.run, args=(requests, OUTSTANDING))
            for client, requests in zip(clients, work, strict=True)
        ]
        took = _timed(lambda: _run(threads))
    return sum(map(len, work)) / took


def _run(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def latency(service: Service, requests: int) -> dict[str, float]:
    """Milliseconds of one `allocate` and one `release` at a time."""
    with Pipeline(service.socket) as client:
        names = [next(_names) for _ in range(requests)]
        allocates = [client.timed("allocate", id=name) * 1e3 for name in names]
        releases = [client.timed("release", id=name) * 1e3 for name in names]
    return {
        "allocate_p50_ms": median(allocates),
        "allocate_p99_ms": quantiles(allocates, n=100)[98],
        "release_p50_ms": median(releases),
        "release_p99_ms": quantiles(releases, n=100)[98],
    }


def port_range(service: Service, ports: int) -> dict[str, float]:
    """Seconds to publish and take back a range, and the agent's resident size in between."""
    spec = f"{FIRST_PORT}-{FIRST_PORT + ports - 1}:{FIRST_PORT}-{FIRST_PORT + ports - 1}"
    with Pipeline(service.socket) as client:
        name = next(_names)
        client.call("allocate", id=name)
        published = client.timed("publish", id=name, ports=[spec])
        resident = service.memory()[0]
        unpublished = client.timed("unpublish", id=name)
        client.call("release", id=name)
    return {"publish_s": published, "unpublish_s": unpublished, "rss_mib": resident / 1024}


@contextmanager
def agent(kernel: str, directory: Path) -> Iterator[Service]:
    """An agent in a room of its own."""
    home = directory / f"{kernel}-{next(_names)}"
    home.mkdir()
    room = Room()
    try:
        with Service(room, home, kernel=kernel, subnet=SUBNET) as service:
            yield service
    finally:
        room.close()


def measure(options: argparse.Namespace) -> dict[str, list[float]]:
    """Every figure by its path, round by round."""
    values: dict[str, list[float]] = {}
    for _ in range(options.rounds):
        for name, value in flat(one_round(options)):
            values.setdefault(name, []).append(value)
    return values


def flat(result: dict[str, Any], path: str = "") -> Iterator[tuple[str, float]]:
    """Nested figures by their paths."""
    for key, value in result.items():
        if isinstance(value, dict):
            yield from flat(value, f"{path}{key}/")
        else:
            yield f"{path}{key}", value


def one_round(options: argparse.Namespace) -> dict[str, Any]:
    """Everything once, each agent a new one."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        result: dict[str, Any] = {
            "commits_per_second": commits_per_second(directory, 0.1 if options.quick else 2)
        }
        for kernel in ("memory", "linux"):
            say(f"kernel {kernel}")
            with agent(kernel, directory) as service:
                result[kernel] = {
                    **{f"{n}_clients": rate(service, n, options.requests) for n in CLIENTS},
                    "one_at_a_time": latency(service, max(20, options.requests // 20)),
                }
        for ports in options.ranges:
            say(f"range of {ports}")
            with agent("linux", directory) as service:
                result[f"range_{ports}"] = port_range(service, ports)
    return result


def figures(values: dict[str, list[float]]) -> Iterator[Figure]:
    """As they are kept: rates also as shares of the commits that the disk makes durable in a second."""
    commits = values["commits_per_second"]
    for name, each in values.items():
        if name.endswith("allocates_per_second"):
            yield ratios(f"{name} for each commit", each, commits, "commits_per_second", "higher")
    for name, each in values.items():
        better: Better = "higher" if name.endswith("per_second") else "lower"
        yield Figure(name, unit(name), "neither" if each is commits else better, tuple(each))


def unit(name: str) -> str:
    """The unit of a figure, by the end of its name."""
    if name.endswith("per_second"):
        return "1/s"
    units = {"ms": "ms", "s": "s", "mib": "MiB"}
    return units.get(name.rpartition("_")[2], "µs")


def show(values: dict[str, list[float]]) -> None:
    """Print the medians."""
    for name, each in values.items():
        print(f"{name.replace('_', ' '):45} {median(each):12,.2f}")


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = make_parser(__doc__, "few requests, small ranges")
    parser.add_argument(
        "--requests", type=positive, default=8_000, help="allocates for each number of clients"
    )
    parser.add_argument("--ranges", type=positive, nargs="+", default=RANGES, help="ports published at once")
    parser.add_argument("--rounds", type=positive, default=3, help="how many times all is measured")
    options = parser.parse_args()
    if options.quick:
        options.requests, options.ranges, options.rounds = 64, (20,), 1
    return options


def main() -> None:
    """Go private, measure."""
    options = arguments()
    go_private()
    values = measure(options)
    if options.json:
        Results("rpc", tuple(figures(values))).write(options.json)
    show(values)


if __name__ == "__main__":
    main()
