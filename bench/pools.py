"""What taking and giving back an address or a port costs: `python bench/pools.py [--json]`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeVar

from moorage.errors import Refused
from moorage.model.address_pool import AddressPool
from moorage.model.port_pool import LAST_AUTOMATIC, PortPool
from moorage.model.port_table import HostPorts

ROUNDS = 2_000
REPEATS = 5
AUTOMATIC = HostPorts("", 0)

Given = TypeVar("Given")


class Row(NamedTuple):
    """One measurement: the best of `REPEATS` means over `ROUNDS`, so that other load counts least."""

    pool: str
    case: str
    acquire_us: float
    release_us: float | None


def measure(acquire: Callable[[], Given], release: Callable[[Given], object]) -> tuple[float, float]:
    """Microseconds of either call, made in turn; `release` is given what `acquire` gave."""
    clock = time.perf_counter
    best_acquire = best_release = float("inf")
    for _ in range(REPEATS):
        spent_acquire = spent_release = 0.0
        for _ in range(ROUNDS):
            start = clock()
            given = acquire()
            middle = clock()
            release(given)
            spent_acquire += middle - start
            spent_release += clock() - middle
        best_acquire, best_release = min(best_acquire, spent_acquire), min(best_release, spent_release)
    return best_acquire / ROUNDS * 1e6, best_release / ROUNDS * 1e6


def measure_refusal(acquire: Callable[[], object]) -> tuple[float, None]:
    """Microseconds until a call is refused."""

    def refused() -> None:
        try:
            acquire()
        except Refused:
            return
        raise AssertionError("a full pool gave something")

    return measure(refused, lambda _: None)[0], None


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


def main() -> None:
    """Print a table, or with `--json` a list of objects."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    if parser.parse_args().json:
        json.dump([row._asdict() for row in rows()], sys.stdout, indent=1)
        return
    print(f"{'pool':10} {'case':26} {'acquire µs':>10} {'release µs':>10}")
    for row in rows():
        release = "" if row.release_us is None else f"{row.release_us:.1f}"
        print(f"{row.pool:10} {row.case:26} {row.acquire_us:10.1f} {release:>10}")


if __name__ == "__main__":
    main()
