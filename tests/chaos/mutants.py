"""Faults to plant into an agent, each of a kind that somebody could make, for the model to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from moorage.control import change, desk, interface
from moorage.control.interface import InterfaceActor
from moorage.control.networks import Networks
from moorage.control.operation import Look
from moorage.control.reservation import Reservation
from moorage.kernel.memory import MemoryFirewall
from moorage.model.address_pool import AddressPool
from moorage.store.operations import PutInterface

Plant = Callable[[pytest.MonkeyPatch], None]


async def nothing(*_arguments: Any) -> None:
    """Do nothing where something should be done."""


def forgotten_ports(patch: pytest.MonkeyPatch) -> None:
    """A release that forgets its ports."""
    patch.setattr(change, "give_back_ports", nothing)


def kept_reservation(patch: pytest.MonkeyPatch) -> None:
    """A refusal that keeps what was reserved before it."""
    patch.setattr(Reservation, "undo", nothing)


def running_proxies(patch: pytest.MonkeyPatch) -> None:
    """Proxies that are not stopped when their mappings go."""
    patch.setattr(change, "stop_all", nothing)


def forgotten_requests(patch: pytest.MonkeyPatch) -> None:
    """Requests that are not recognised when they come again."""
    for module in (desk, interface):
        if hasattr(module, "key_of"):
            patch.setattr(module, "key_of", lambda *_arguments: None)


def blind_mapper(patch: pytest.MonkeyPatch) -> None:
    """A port mapper that does not see what others do to its rules."""
    patch.setattr(MemoryFirewall, "changed", lambda _self: False)


def unrecorded_publication(patch: pytest.MonkeyPatch) -> None:
    """A publication that is answered and not recorded."""
    operation = change.Change._operation

    def without(self: change.Change, resting: float) -> Any:
        made = operation(self, resting)
        both = self._before is not None and self._after is not None
        return PutInterface(self._before) if both and self._before is not None else made

    patch.setattr(change.Change, "_operation", without)


def forgotten_rest(patch: pytest.MonkeyPatch) -> None:
    """An allocator that begins again and forgets which addresses rest, and which it gave last."""
    for method in ("restore_quarantine", "resume_after"):
        patch.setattr(AddressPool, method, lambda _self, _what: None)


def kept_network(patch: pytest.MonkeyPatch) -> None:
    """A network that is removed from the journal, and nowhere else."""
    patch.setattr(Networks, "_unmake", nothing)


def held_answers(patch: pytest.MonkeyPatch) -> None:
    """An interface that serves later requests what it read for one, the answer to a repeated request with it."""
    receive, open_, change = InterfaceActor.receive, InterfaceActor._open, InterfaceActor._change
    held: dict[InterfaceActor, Any] = {}
    ours: set[InterfaceActor] = set()

    async def forgetting(self: InterfaceActor, message: Any) -> Any:
        try:
            return await receive(self, message)
        except BaseException:
            ours.discard(self)
            raise

    async def holding(self: InterfaceActor, message: Any, known: Any) -> Any:
        plain = isinstance(message, Look) or message.key is None
        if not (plain and self in ours):
            held[self] = await open_(self, message, known)
        return held[self]

    async def changing(self: InterfaceActor, after: Any, key: Any) -> Any:
        reply = await change(self, after, key)
        held[self] = self._opened
        (ours.add if after is not None and key is None else ours.discard)(self)
        return reply

    for name, function in (("receive", forgetting), ("_open", holding), ("_change", changing)):
        patch.setattr(InterfaceActor, name, function)


MUTANTS: tuple[Plant, ...] = (
    forgotten_ports,
    kept_reservation,
    running_proxies,
    forgotten_requests,
    blind_mapper,
    unrecorded_publication,
    forgotten_rest,
    kept_network,
    held_answers,
)
OF_NETWORKS: tuple[Plant, ...] = (kept_network,)
"""Those that need networks that come and go."""
