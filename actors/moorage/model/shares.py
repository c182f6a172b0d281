"""What the containers of a uid take of the agent, and how much that may be. No clock, no database."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from moorage.descriptors import for_ports
from moorage.errors import Code, Refused
from moorage.values import Interface

INTERFACES = 4096
"""Of one uid: the containers of four bridges that are full. They take 50 MiB of the agent."""
LABELS = 8 << 20
"""Bytes of one uid: 2 KiB an interface where it has all it may have. In memory they take four times as much."""
PORTS = 16_384
"""Of one uid, and no more than half of the descriptors that are there for published ports."""
UIDS: Final = 4
"""All uids but the trusted have together what so many may have, and three quarters of the descriptors at most."""


class Share(NamedTuple):
    """What one or several interfaces take."""

    interfaces: int = 0
    labels: int = 0
    ports: int = 0


_NAMES: Final = Share("interfaces", "bytes of labels", "published ports")  # type: ignore[arg-type]
_NOTHING: Final = Share()


class Shares:
    """What each uid has. Those that the agent trusts are neither counted nor bounded.

    An interface is of the uid that last had it take something.
    """

    def __init__(self) -> None:
        """Nobody has anything."""
        self._of: dict[int, Share] = {}

    def count(self, interfaces: list[Interface]) -> None:
        """Begin with what there is."""
        held: dict[int, Share] = defaultdict(Share)
        for each in interfaces:
            if each.owner is not None:
                held[each.owner] = _plus(held[each.owner], share_of(each))
        self._of = dict(held)

    def move(self, before: Interface | None, after: Interface | None, *, bounded: bool) -> None:
        """Count a change of an interface, None being none. Raises Refused (limit) for too much, where `bounded`."""
        for interface, sign in ((before, -1), (after, 1)):
            if interface is not None and (uid := interface.owner) is not None:
                self._of[uid] = _plus(self._of.get(uid, _NOTHING), share_of(interface), sign)
                if self._of[uid] == _NOTHING:
                    del self._of[uid]
        if bounded and after is not None and after.owner is not None:
            self._check(after.owner, _grown(before, after))

    @contextmanager
    def kept_or_undone(self) -> Iterator[None]:
        """Count as before where the block fails, and what it did is rolled back."""
        before = dict(self._of)
        try:
            yield
        except BaseException:
            self._of = before
            raise

    def _check(self, uid: int, grown: Share) -> None:
        descriptors = for_ports()
        each = Share(INTERFACES, LABELS, min(PORTS, descriptors // 2))
        together = Share(UIDS * INTERFACES, UIDS * LABELS, min(UIDS * PORTS, descriptors * 3 // 4))
        total = _NOTHING
        for share in self._of.values():
            total = _plus(total, share)
        _refuse_more(f"uid {uid}", "one uid", self._of.get(uid, _NOTHING), each, grown)
        _refuse_more("all clients but root", "together they", total, together, grown)


def share_of(interface: Interface) -> Share:
    """What one interface takes."""
    labels = sum(len(key.encode()) + len(value.encode()) for key, value in interface.labels.items())
    return Share(1, labels, sum(mapping.count for mapping in interface.ports))


def _grown(before: Interface | None, after: Interface) -> Share:
    """What an owner has more of; all of it where it was another's."""
    if before is None or before.owner != after.owner:
        return share_of(after)
    return _plus(share_of(after), share_of(before), -1)


def _plus(one: Share, other: Share, sign: int = 1) -> Share:
    return Share(*(mine + sign * theirs for mine, theirs in zip(one, other, strict=True)))


def _refuse_more(who: str, whom: str, has: Share, bound: Share, grown: Share) -> None:
    for name, number, most, more in zip(_NAMES, has, bound, grown, strict=True):
        if more > 0 and number > most:
            text = (
                f"{who} would have {number} {name}, and {whom} may have {most}: release or unpublish some, or let root "
                "do it"
            )
            raise Refused(Code.LIMIT, text)
