"""What the containers of a uid take of the agent, and how much that may be. No clock, no database."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

from moorage.descriptors import for_ports
from moorage.errors import Code, Refused
from moorage.values import Interface, Network

INTERFACES = 4096
"""Of one uid: the containers of four bridges that are full. They take 50 MiB of the agent."""
LABELS = 8 << 20
"""Bytes of one uid: 2 KiB an interface where it has all it may have. In memory they take four times as much."""
PORTS = 16_384
"""Of one uid, and no more than half of the descriptors that are there for published ports."""
NETWORKS = 32
"""Of one uid. Each is a bridge, and a piece of every start and look."""
ADDRESSES = 1 << 18
"""Of IPv4, that the networks of one uid have: four of the 276 /16 that are private."""
UIDS: Final = 4
"""All uids but the trusted have together what so many may have, and three quarters of the descriptors at most."""


class Share(NamedTuple):
    """What one or several interfaces take."""

    interfaces: int = 0
    labels: int = 0
    ports: int = 0
    automatic: int = 0
    """Those of the ports that are given to who names none, whether named or not."""


_NAMES: Final = Share("interfaces", "bytes of labels", "published ports", "ports of port_range")  # type: ignore[arg-type]
_NOTHING: Final = Share()


class Shares:
    """What each uid has. Those that the agent trusts are neither counted nor bounded.

    An interface is of the uid that last had it take something.
    """

    def __init__(self) -> None:
        """Nobody has anything."""
        self._of: dict[int, Share] = {}
        self._automatic = range(0)
        """The ports that are given to who names none: half of them to one uid, a quarter is left to the trusted."""

    def count(self, interfaces: list[Interface], automatic: range = range(0)) -> None:
        """Begin with what there is."""
        self._automatic = automatic
        held: dict[int, Share] = defaultdict(Share)
        for each in interfaces:
            if each.owner is not None:
                held[each.owner] = _plus(held[each.owner], share_of(each, self._automatic))
        self._of = dict(held)

    def move(self, before: Interface | None, after: Interface | None, *, bounded: bool) -> None:
        """Count a change of an interface, None being none. Raises Refused (limit) for too much, where `bounded`."""
        for interface, sign in ((before, -1), (after, 1)):
            if interface is not None and (uid := interface.owner) is not None:
                share = share_of(interface, self._automatic)
                self._of[uid] = _plus(self._of.get(uid, _NOTHING), share, sign)
                if self._of[uid] == _NOTHING:
                    del self._of[uid]
        if bounded and after is not None and after.owner is not None:
            self._check(after.owner, self._grown(before, after))

    def foresee(self, uid: int, runs: Iterable[tuple[int, int]]) -> None:
        """Raise Refused (limit) where a uid may not have these as well: (first port, 0 for automatic, and count)."""
        more = _NOTHING
        for first, count in runs:
            automatic = count if not first else _overlap(first, count, self._automatic)
            more = _plus(more, Share(ports=count, automatic=automatic))
        self._check(uid, more, more)

    @contextmanager
    def kept_or_undone(self) -> Iterator[None]:
        """Count as before where the block fails, and what it did is rolled back."""
        before = dict(self._of)
        try:
            yield
        except BaseException:
            self._of = before
            raise

    def _grown(self, before: Interface | None, after: Interface) -> Share:
        """What an owner has more of; all of it where it was another's."""
        share = share_of(after, self._automatic)
        if before is None or before.owner != after.owner:
            return share
        return _plus(share, share_of(before, self._automatic), -1)

    def _check(self, uid: int, grown: Share, more: Share = _NOTHING) -> None:
        descriptors = for_ports()
        automatic = len(self._automatic) or sys.maxsize
        each = Share(INTERFACES, LABELS, min(PORTS, descriptors // 2), automatic // 2)
        together = Share(
            UIDS * INTERFACES, UIDS * LABELS, min(UIDS * PORTS, descriptors * 3 // 4), automatic * 3 // 4
        )
        total = more
        for share in self._of.values():
            total = _plus(total, share)
        _refuse_more(f"uid {uid}", "one uid", _plus(self._of.get(uid, _NOTHING), more), each, grown)
        _refuse_more("all clients but root", "together they", total, together, grown)


def check_networks(uid: int, networks: Iterable[Network], subnet: str) -> None:
    """Raise Refused (limit) where a uid has too many to make one more with that subnet, or all but root have."""
    theirs = [each for each in networks if each.owner is not None]
    own = [each for each in theirs if each.owner == uid]
    for who, whom, some, times in (
        (f"uid {uid}", "one uid", own, 1),
        ("all clients but root", "together they", theirs, UIDS),
    ):
        number, size = len(some) + 1, sum(_size(each.subnet) for each in some) + _size(subnet)
        for name, wanted, most in (
            ("networks", number, NETWORKS),
            ("addresses of networks", size, ADDRESSES),
        ):
            if wanted > times * most:
                text = (
                    f"{who} would have {wanted} {name}, and {whom} may have {times * most}: remove some, or let root "
                    "make it"
                )
                raise Refused(Code.LIMIT, text)


def _size(subnet: str) -> int:
    return int(1 << (32 - int(subnet.rpartition("/")[2])))


def share_of(interface: Interface, automatic: range = range(0)) -> Share:
    """What one interface takes."""
    labels = sum(len(key.encode()) + len(value.encode()) for key, value in interface.labels.items())
    ports = sum(mapping.count for mapping in interface.ports)
    within = sum(_overlap(mapping.host_port, mapping.count, automatic) for mapping in interface.ports)
    return Share(1, labels, ports, within)


def _overlap(first: int, count: int, ports: range) -> int:
    return max(0, min(first + count, ports.stop) - max(first, ports.start))


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
