"""What taking and giving back an address or a port costs: `python bench/pools.py`."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from results import Figure, Results

from moorage.errors import Refused
from moorage.model.address_pool import AddressPool
from moorage.model.port_pool import LAST_AUTOMATIC, PortPool
from moorage.model.port_table import HostPorts

ROUNDS = 2_000
REPEATS = 5
AUTOMATIC = HostPorts("", 0)

Given = TypeVar("Given")


class Row(NamedTuple):
    """One measurement: `REPEATS` means over many rounds, of which the least is told: other load counts least."""

    pool: str
    case: str
    acquire_us: tuple[float, ...]
    release_us: tuple[float, ...]
    """Empty where nothing was given."""


Times = tuple[tuple[float, ...], tuple[float, ...]]


def measure(acquire: Callable[[], Given], release: Callable[[Given], object]) -> Times:
    """Microseconds of either call, made in turn; `release` is given what `acquire` gave."""
    clock = time.perf_counter
    acquires, releases = [], []
    for _ in range(REPEATS):
        spent_acquire = spent_release = 0.0
        for _ in range(ROUNDS):
            start = clock()
            given = acquire()
            middle = clock()
            release(given)
            spent_acquire += middle - start
            spent_release += clock() - middle
        acquires.append(spent_acquire / ROUNDS * 1e6)
        releases.append(spent_release / ROUNDS * 1e6)
    return tuple(acquires), tuple(releases)


def measure_refusal(acquire: Callable[[], object]) -> Times:
    """Microseconds until a call is refused."""

    def refused() -> None:
        try:
            acquire()
        except Refused:
            return
        raise AssertionError("a full pool gave something")

    return measure(refused, lambda _: None)[0], ()


def address_row(name: str, case: str, pool: AddressPool, held: int) -> Row:
    """An address taken and given back while the first `held` addresses are taken."""
    for number in range(held):
        pool.acquire(f"owner-{number}", 0)
    if not pool.free:
        return Row(name, case, *measure_refusal(lambda: pool.acquire("owner", 0)))
    return Row(
        name, case, *measure(lambda: pool.acquire("owner", 0), lambda given: pool.release("owner", given, 0))
    )


def address_rows() -> Iterator[Row]:
    """A /16 from empty to full, and a /64."""
    size = AddressPool("10.1.0.0/16", "10.1.0.1").capacity
    fills = {"0 %": 0, "50 %": size // 2, "99.99 %": size - size // 10_000, "100 %, refused": size}
    for case, held in fills.items():
        yield address_row("IPv4 /16", case, AddressPool("10.1.0.0/16", "10.1.0.1"), held)
    yield address_row("IPv6 /64", "100,000 held", AddressPool("fd00:42::/64", "fd00:42::1"), 100_000)


def port_rows() -> Iterator[Row]:
    """Ports taken and given back, one and many, in an empty pool, a nearly full one and a full one."""
    empty, full = PortPool("tcp"), PortPool("tcp")
    while full.acquire("owner", "", 0) != LAST_AUTOMATIC:
        pass
    yield port_row("0 %", empty)
    yield port_row("0 %, fixed run of 10,000", empty, HostPorts("", 10_000, 10_000))
    yield Row("ports", "100 %, refused", *measure_refusal(lambda: full.acquire("owner", "", 0)))
    full.release("owner", "", 60_000)
    yield port_row("1 left", full)
    full.release("owner", "", 50_000)
    yield port_row("2 left, 1 of them reserved", full, avoid=frozenset({50_000}))
    yield Row("ports", "run of 3, refused", *measure_refusal(lambda: full.acquire("owner", "", 0, 3)))


def port_row(
    case: str, pool: PortPool, asked: HostPorts = AUTOMATIC, avoid: frozenset[int] = frozenset()
) -> Row:
    """Ports taken and given back."""
    ip, port, count = asked.key_ip, asked.port, asked.count
    took = measure(
        lambda: pool.acquire("other", ip, port, count, avoid),
        lambda given: pool.release("other", ip, given, count),
    )
    return Row("ports", case, *took)


def rows() -> Iterator[Row]:
    """Every measurement."""
    yield from address_rows()
    yield from port_rows()


def figures(measured: Iterable[Row]) -> Iterator[Figure]:
    """As they are kept."""
    for row in measured:
        for what, values in (("acquire", row.acquire_us), ("release", row.release_us)):
            if values:
                yield Figure(f"{row.pool}/{row.case}/{what}", "µs", "lower", values)


def main() -> None:
    """Print a table, and write the figures where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    options = parser.parse_args()
    measured = list(rows())
    if options.json:
        Results("pools", tuple(figures(measured))).write(options.json)
    print(f"{'pool':10} {'case':26} {'acquire µs':>10} {'release µs':>10}")
    for row in measured:
        release = f"{min(row.release_us):.1f}" if row.release_us else ""
        print(f"{row.pool:10} {row.case:26} {min(row.acquire_us):10.1f} {release:>10}")


if __name__ == "__main__":
    main()
