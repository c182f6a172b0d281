"""Networks, interfaces and mappings for the tests of the store."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from moorage.store import Commit, Done, Operation, PutInterface, PutNetwork, RequestKey, Store
from moorage.store.lock import Lock
from moorage.values import Interface, Mapping, Network

BOOT = "first-boot"


def open_store(
    directory: Path, boot: str = BOOT, now: Callable[[], float] = time.time, lock: Lock | None = None
) -> Store:
    return Store.open(directory, boot, now, lock)


def network(name: str = "net", third: int = 42) -> Network:
    return Network(name, f"br{third}", f"10.0.{third}.0/24", f"10.0.{third}.1")


def interface(
    name: str, last: int = 2, *ports: Mapping, net: str = "net", ipv6: str | None = None
) -> Interface:
    return Interface(
        id=name,
        network=net,
        ip=f"10.0.42.{last}",
        prefix=24,
        gateway="10.0.42.1",
        mac=f"02:00:0a:00:2a:{last:02x}",
        created="2026-01-01T00:00:00Z",
        ipv6=ipv6,
        prefix6=ipv6 and 64,
        ports=ports,
        labels={"of": name},
    )


def mapping(host_port: int, host_ip: str = "", count: int = 1, proto: str = "tcp") -> Mapping:
    """A mapping on `host_ip`, "" being any of both families."""
    return Mapping(proto, host_ip or "0.0.0.0", host_port, 80, count, dual=not host_ip)  # noqa: S104 - a value


def request(name: str, method: str = "allocate", digest: bytes = b"digest") -> RequestKey:
    return RequestKey(name, method, digest)


def do(store: Store, *operations: Operation) -> tuple[bool, ...]:
    """Commit operations that must not be refused, and give what they changed."""
    (outcome,) = store.commit([Commit(operations)])
    assert isinstance(outcome, Done), outcome
    return outcome.changed


def refused(store: Store, *operations: Operation) -> Exception:
    """Commit operations that must fail, and give what they failed with."""
    (outcome,) = store.commit([Commit(operations)])
    assert isinstance(outcome, Exception), outcome
    return outcome


def populate(store: Store, count: int) -> list[Interface]:
    """A network with that many interfaces, each with a port."""
    made = [interface(f"id{n}", 2 + n, mapping(8000 + n)) for n in range(count)]
    do(store, PutNetwork(network()), *map(PutInterface, made))
    return made


def back_to_version_1(state: Path, now: float) -> None:
    """Make a closed database what the version wrote that noted no MACs, and had the calendar's time of rests."""
    with closing(sqlite3.connect(state / "moorage.db")) as connection, connection:
        connection.execute("DROP TABLE macs")
        connection.execute("UPDATE quarantine SET until = until + ?", (time.time() - now,))
        connection.execute("PRAGMA user_version = 1")


class Clock:
    """A clock turned by hand."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time
