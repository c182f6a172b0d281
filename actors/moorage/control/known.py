"""What an interface's actor remembers between two messages."""

from __future__ import annotations

from typing import NamedTuple

from moorage.control.journal import Opened
from moorage.values import Interface, Network


class Known(NamedTuple):
    """An interface and its network as this life left them: all that its actor remembers between two messages.

    Every message takes it away. It is put back at the end of one kind alone: an operation without a `request` that
    was done, after which there is an interface. So no refusal, fault, collection, look or request that brings its
    string leaves it behind, and what comes next asks the journal. A remembered answer has no place in it.
    """

    interface: Interface
    network: Network


def known_of(opened: Opened | None) -> Known | None:
    """What to remember of what an operation left; None where there is no interface."""
    if opened is None or opened.interface is None or opened.network is None:
        return None
    return Known(opened.interface, opened.network)
