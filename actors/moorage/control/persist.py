"""Asking again while somebody restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from moorage.errors import Code, Fault, Refused
from moorage.supervision.directory import Address
from moorage.supervision.reply import Reply, Unanswered

PAUSES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between tries: a restart takes milliseconds, and one that takes eight seconds is none."""


async def persist(address: Address, message: Any) -> Any:
    """Ask until somebody is there. For what may be done twice, and must be done once it is recorded.

    Raises Fault at once for an actor that was given up, which reaches nobody any more.
    """
    for pause in PAUSES:
        try:
            return await address.ask(message)
        except Refused as refusal:
            _check_worth_repeating(address, refusal)
        await _rest(pause)
    return await address.ask(message)


def persist_here(address: Address, message: Any) -> Any:
    """The same for a thread that is in the middle of something, and has nothing else to do meanwhile."""
    for pause in PAUSES:
        try:
            return address.ask(message).wait()
        except Refused as refusal:
            _check_worth_repeating(address, refusal)
        time.sleep(pause)
    return address.ask(message).wait()


async def give_back(allocator: Address, message: Any) -> None:
    """Ask an allocator as `persist` does, and be done when it is gone for good, its network removed."""
    for pause in PAUSES:
        if allocator.directory.find(allocator.name) is None:
            return
        try:
            await allocator.ask(message)
        except Refused as refusal:
            _check_worth_repeating(allocator, refusal)
        else:
            return
        await _rest(pause)
    await allocator.ask(message)


async def _rest(seconds: float) -> None:
    """Wait for nobody, which a thread actor can as well as one on the loop."""
    with suppress(Unanswered):
        await Reply("nobody", seconds)


def _check_worth_repeating(address: Address, refusal: Refused) -> None:
    if refusal.code is not Code.UNAVAILABLE:
        raise refusal
    if address.is_void:
        raise Fault(f"{address.name} was asked by an actor that was given up") from refusal


@contextmanager
def recorded() -> Iterator[None]:
    """After the record a refusal must not be heard as one: something was done."""
    try:
        yield
    except Refused as refusal:
        raise Fault(f"it is recorded, and could not be finished: {refusal.text}") from refusal
