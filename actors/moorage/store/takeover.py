"""What the kernel shows and a state does not know, taken over into it in one transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from moorage.errors import Refused
from moorage.store.operations import (
    Commit,
    Conflict,
    DropInterface,
    Operation,
    PutInterface,
    PutNetwork,
    Remember,
)
from moorage.store.store import Store
from moorage.values import Interface, Network


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of it."""

    found: tuple[str, ...]
    """What is known by the kernel alone: `network dual`, `interface web`."""
    left_out: tuple[str, ...]
    """Why something could not be taken over."""


def take_up(
    store: Store,
    networks: Sequence[Network],
    interfaces: Sequence[Interface],
    *,
    state: str = "",
    sysctls: Mapping[str, str] = MappingProxyType({}),
) -> Taken:
    """Record what is not recorded, and what was attached after all that is; `state` is the id from now on, if given.

    An interface that was attached after all that is recorded goes before the record of one that the kernel does not
    show, where both have an address, a port or a name; otherwise what is recorded goes before it.
    Raises Refused (no_space), and whatever else keeps the whole from being written: then nothing is.
    """
    with store.one_transaction():
        if state:
            store.rename(state)
        for each in sysctls.items():
            _do(store, Remember(*each))
        return Taken(*_take(store, networks, interfaces))


def _take(
    store: Store, networks: Sequence[Network], interfaces: Sequence[Interface]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    known = store.networks()
    names = {each.name for each in known} | {each.bridge for each in known}
    new = [each for each in networks if each.name not in names and each.bridge not in names]
    ids, newest = {each.id for each in store.interfaces()}, store.attached
    fresh = [each for each in interfaces if each.id not in ids or each.attached > newest]
    living = {each.id for each in interfaces}
    missed = list(_put(store, map(PutNetwork, new)))
    for each in fresh:
        missed += _settle(store, each, living if each.attached > newest else None)
    found = [f"network {each.name}" for each in new if store.network(each.name)]
    found += [f"interface {each.id}" for each in fresh if _is_there(store, each)]
    return tuple(found), tuple(missed)


def _settle(store: Store, interface: Interface, living: Collection[str] | None) -> Iterator[str]:
    """Record it, in the place of those that are not `living`, or of nobody (None); gives why not."""
    before = store.interface(interface.id)
    put = PutInterface(replace(interface, labels=before.labels) if before else interface, rebuilt=True)
    while (refusal := _do(store, put)) is not None:
        if living is None or not isinstance(refusal, Conflict) or refusal.holder in living:
            yield str(refusal)
            return
        _do(store, DropInterface(refusal.holder))


def _put(store: Store, operations: Iterator[Operation]) -> Iterator[str]:
    for each in operations:
        if (refusal := _do(store, each)) is not None:
            yield str(refusal)


def _do(store: Store, operation: Operation) -> Refused | None:
    outcome = store.apply(Commit((operation,)))
    if isinstance(outcome, Refused) and outcome.code != "no_space":
        return outcome
    if isinstance(outcome, Exception):
        raise outcome
    return None


def _is_there(store: Store, interface: Interface) -> bool:
    recorded = store.interface(interface.id)
    return recorded is not None and recorded.attached == interface.attached
