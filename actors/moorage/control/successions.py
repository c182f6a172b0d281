"""Which addresses come to a container, and which have gone with one: what was begun from them is a former one's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from moorage.control.settling import Settle
from moorage.kernel.protocol import Element


class Succession(NamedTuple):
    """Addresses of containers."""

    gone: frozenset[str]
    come: frozenset[str]


def succession(settles: Collection[Settle], before: Mapping[str, Collection[Element]]) -> Succession:
    """What these say; `before` has the elements that each owner had. Who had some is there already."""
    gone = [each for each in settles if not each.elements]
    come = [each for each in settles if each.elements and not before.get(each.owner)]
    return Succession(_addresses(gone), _addresses(come))


def _addresses(settles: Collection[Settle]) -> frozenset[str]:
    return frozenset(address for each in settles for address in each.addresses)
