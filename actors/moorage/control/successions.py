"""Which addresses come to a container, or have gone with one: whatever was begun from them is a former one's."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moorage.control.settling import Settle
from moorage.kernel.protocol import Element


class Successions:
    """Remembers which addresses nobody has whose connections were ended, so that the next one costs nothing."""

    def __init__(self) -> None:
        """What was before this life may have left connections."""
        self._ended: set[str] = set()

    def take(self, settles: Collection[Settle], before: Mapping[str, Collection[Element]]) -> frozenset[str]:
        """The addresses whose connections are to end; `before` has the elements that each owner had."""
        ending: set[str] = set()
        for each in settles:
            if not each.addresses:
                continue
            if not each.elements:
                ending.update(each.addresses)
                self._ended.update(each.addresses)
            elif not before.get(each.owner):
                ending.update(set(each.addresses) - self._ended)
                self._ended.difference_update(each.addresses)
        return frozenset(ending)
