"""A damaged database put aside under another name, and a new one made of what is still known."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from moorage.errors import Refused
from moorage.store import directory as directories
from moorage.store.operations import Commit, Operation, PutInterface, PutNetwork, Remember, Reserve
from moorage.store.salvage import salvage
from moorage.store.store import Store
from moorage.store.takeover import take_up
from moorage.values import Interface, Network

KEPT = 3
"""How many damaged databases are kept, the oldest going first: a disk that fails could fill itself."""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What became of a damaged database."""

    aside: Path
    """Where it is now."""
    intact: int
    """Networks and interfaces whose records were intact."""
    found: tuple[str, ...]
    """What had no intact record, and is known by the kernel alone."""
    damaged: int
    """Rows that were not as written, as far as they could be counted."""
    left_out: tuple[str, ...]
    """Why something that was known could not be taken over."""


def rebuild(
    directory: Path,
    boot_id: str,
    now: Callable[[], float],
    networks: Sequence[Network],
    interfaces: Sequence[Interface],
    *,
    state: str = "",
    sysctls: Mapping[str, str] = MappingProxyType({}),
) -> Rebuilt:
    """Replace the database in a locked directory by one of its intact rows and what the kernel still shows.

    `networks`, `interfaces` and former `sysctls` are the kernel's; an intact row counts more, but for an interface that
    was attached after all that is recorded was. `state` is the id where none can be read. The new database takes its
    place in one step, however often this is interrupted. Raises Refused (no_space, denied).
    """
    known = salvage(directory / directories.DATABASE)
    place = directory / directories.REBUILDING
    shutil.rmtree(place, ignore_errors=True)
    new = Store.open(place, known.boot or boot_id, now, state=known.state or state)
    try:
        left_out = _fill(new, [PutNetwork(each) for each in known.networks])
        left_out += _fill(new, [PutInterface(each, rebuilt=True) for each in known.interfaces])
        _must(
            new,
            [Remember(*each) for each in {**sysctls, **known.sysctls}.items()],
            Reserve(tuple(known.reserved)),
        )
        new.take_requests(known.requests, known.pieces)
        taken = take_up(new, networks, interfaces)
    finally:
        new.close()
    (place / directories.DATABASE).replace(directory / directories.REBUILT)
    aside = _put_in_place(directory)
    intact = len(known.networks) + len(known.interfaces)
    return Rebuilt(aside, intact, taken.found, known.damaged, (*left_out, *taken.left_out))


def finish_rebuild(directory: Path) -> None:
    """Put a rebuilt database in its place if `rebuild` was interrupted before it did."""
    if (directory / directories.REBUILT).exists():
        _put_in_place(directory)


def _put_in_place(directory: Path) -> Path:
    name = name_aside()
    for suffix in directories.SUFFIXES:
        former = directory / f"{directories.DATABASE}{suffix}"
        if former.exists():
            former.rename(directory / f"{name}{suffix}")
    (directory / directories.REBUILT).replace(directory / directories.DATABASE)
    shutil.rmtree(directory / directories.REBUILDING, ignore_errors=True)
    directories.sync(directory)
    forget_oldest(directory)
    return directory / name


def _fill(store: Store, operations: Sequence[Operation]) -> list[str]:
    """Do each by itself; the sentences of those that collide with what is there already."""
    outcomes = store.commit([Commit((each,)) for each in operations]) if operations else []
    refusals = [each for each in outcomes if isinstance(each, Exception)]
    for refusal in refusals:
        if not isinstance(refusal, Refused) or refusal.code == "no_space":
            raise refusal
    return [str(refusal) for refusal in refusals]


def _must(store: Store, sysctls: Sequence[Operation], ports: Operation) -> None:
    (outcome,) = store.commit([Commit((*sysctls, ports))])
    if isinstance(outcome, Exception):
        raise outcome


def name_aside() -> str:
    """What a database is called that is put aside now."""
    return f"{directories.ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S%f}.db"


def forget_oldest(directory: Path) -> None:
    """Remove what was put aside long ago."""
    aside = sorted(directory.glob(f"{directories.ASIDE}*.db"))
    for path in aside[:-KEPT]:
        for suffix in directories.SUFFIXES:
            path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)
