"""The host ports of one protocol: given to owners by number, or automatically in turn."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import replace

from moorage.errors import Code, Refused
from moorage.model.port_table import (
    HIGHEST_PORT,
    HostPorts,
    Lease,
    PortTable,
    first_collision,
    lowest_bit,
)

FIRST_AUTOMATIC = 49153
"""The seed's portRangeStart."""
LAST_AUTOMATIC = 65535
"""The seed's portRangeEnd, which it never gave out; here it is given like the others."""


class PortPool:
    """Who holds which host port. Owners are names, of interfaces as a rule.

    Automatic ports come from `first` to `last`, both included, in turn: the search begins after the port
    that was given last, and wraps. Every operation is all or nothing.
    """

    def __init__(self, proto: str, first: int = FIRST_AUTOMATIC, last: int = LAST_AUTOMATIC) -> None:
        """Begin with nothing held. Raises Refused (invalid) for a range that is none."""
        if not 1 <= first <= last <= HIGHEST_PORT:
            raise Refused(
                Code.INVALID,
                f"the automatic {proto} ports {first}-{last} are no range within 1-{HIGHEST_PORT}",
            )
        self._proto = proto
        self._range = range(first, last + 1)
        self._cursor = first
        self._table: PortTable[str] = PortTable()
        self._owned: dict[str, set[HostPorts]] = {}

    def acquire(self, owner: str, key_ip: str, port: int, count: int = 1, avoid: Container[int] = ()) -> int:
        """Give `owner` a run of `count` ports from `port` on, or with port 0 the next free run.

        Automatic ports skip those in `avoid`. Returns the first port. Raises Refused: port_in_use naming the
        holder, ports_exhausted, invalid.
        """
        asked = HostPorts(key_ip, port, count)
        self._validate(asked)
        return self._place(owner, asked, avoid)

    def acquire_all(self, owner: str, asked: Sequence[HostPorts], avoid: Container[int] = ()) -> list[int]:
        """Give `owner` all that is asked, or nothing; the first ports come back in the order of `asked`.

        Fixed ports are placed first, so that no automatic one takes what the same request names. Raises
        Refused as `acquire` does, and invalid when two of `asked` collide.
        """
        self._validate_all(asked)
        cursor = self._cursor
        placed: dict[int, HostPorts] = {}
        try:
            for place in sorted(range(len(asked)), key=lambda place: not asked[place].port):
                ports = asked[place]
                placed[place] = replace(ports, port=self._place(owner, ports, avoid))
        except Refused:
            self._cursor = cursor
            for ports in placed.values():
                self._remove(owner, ports)
            raise
        return [placed[place].port for place in range(len(asked))]

    def take(self, owner: str, key_ip: str, port: int, count: int = 1) -> None:
        """Hold ports that a record says `owner` has; again is no error.

        Raises Refused: port_in_use naming the holder, invalid.
        """
        ports = HostPorts(key_ip, port, count)
        self._validate(ports)
        if not port:
            raise self._refuse(Code.INVALID, ports, f"is recorded for {owner}, and is no port")
        if ports not in self._owned.get(owner, ()):
            self._add(owner, ports)

    def release(self, owner: str, key_ip: str, port: int, count: int = 1) -> bool:
        """Give back a run as it was given; False when it was not held.

        Raises Refused: denied, naming the holder, when it is another's, invalid for a part of a run.
        """
        ports = HostPorts(key_ip, port, count)
        self._validate(ports)
        held = self._table.within(ports)
        if held is None:
            return False
        if held.owner != owner:
            raise self._refuse(
                Code.DENIED, ports, f"can not be released by {owner}: {held.owner} holds {held.ports}"
            )
        if held.ports != ports:
            raise self._refuse(
                Code.INVALID, ports, f"can not be released: {held.ports} is held, and released, whole"
            )
        self._remove(owner, ports)
        return True

    def release_owner(self, owner: str, keep: Container[HostPorts] = ()) -> list[HostPorts]:
        """Give back all that `owner` holds but what is in `keep`; returns what that was, in order."""
        gone = sorted(ports for ports in self._owned.get(owner, ()) if ports not in keep)
        for ports in gone:
            self._remove(owner, ports)
        return gone

    def holder(self, key_ip: str, port: int) -> str | None:
        """Whose ports a request for this one would collide with; None when it is free."""
        lease = self._table.conflict(HostPorts(key_ip, port))
        return lease.owner if lease else None

    def owned(self, owner: str) -> list[HostPorts]:
        """All that `owner` holds, in order."""
        return sorted(self._owned.get(owner, ()))

    def held(self) -> list[Lease[str]]:
        """All leases, in order of key ip and port."""
        return sorted(self._table)

    def resume_after(self, port: int) -> None:
        """Begin the next search for automatic ports after this one, which was given last."""
        self._cursor = port + 1

    def _validate(self, asked: HostPorts) -> None:
        if asked.count < 1:
            raise self._refuse(Code.INVALID, asked, f"is a run of {asked.count} ports; ask for one or more")
        if asked.port < 0 or asked.last > HIGHEST_PORT:
            raise self._refuse(Code.INVALID, asked, f"is not within 1-{HIGHEST_PORT}")
        if not asked.port and asked.count > len(self._range):
            raise Refused(
                Code.INVALID,
                f"a run of {asked.count} automatic {self._proto} ports was asked for, and "
                f"{self._range[0]}-{self._range[-1]} has {len(self._range)} in all; "
                "ask for fewer or widen port_range",
            )

    def _validate_all(self, asked: Sequence[HostPorts]) -> None:
        for ports in asked:
            self._validate(ports)
        if pair := first_collision(asked):
            a, b = (asked[place] for place in pair)
            raise self._refuse(
                Code.INVALID, b, f"collides with {a} of the same request; leave one of them out"
            )

    def _place(self, owner: str, asked: HostPorts, avoid: Container[int]) -> int:
        if asked.port:
            self._add(owner, asked)
            return asked.port
        port = self._find(asked, avoid)
        self._add(owner, replace(asked, port=port))
        self.resume_after(port + asked.count - 1)
        return port

    def _find(self, asked: HostPorts, avoid: Container[int]) -> int:
        free = HostPorts("", self._range.start, len(self._range)).bits & ~self._table.blocked(asked.key_ip)
        port = self._next_run(free, asked.count)
        if port is not None and any(taken in avoid for taken in range(port, port + asked.count)):
            port = self._next_run(free & ~self._bits(avoid), asked.count)
        if port is None:
            raise self._exhausted(asked)
        return port

    def _next_run(self, free: int, count: int) -> int | None:
        """The first of `count` free ports in a row, from the cursor on or else from the start."""
        runs, length = free, 1
        while length < count:
            step = min(length, count - length)
            runs &= runs >> step
            length += step
        ahead = runs >> self._cursor
        if ahead:
            return self._cursor + lowest_bit(ahead)
        return lowest_bit(runs) if runs else None

    def _bits(self, ports: Container[int]) -> int:
        """The bits of those of our range that are in `ports`, by way of a binary number."""
        digits = bytes(map(ports.__contains__, reversed(self._range))).translate(b"01" + bytes(254))
        return int(digits, 2) << self._range.start

    def _add(self, owner: str, ports: HostPorts) -> None:
        if lease := self._table.conflict(ports):
            why = f"was asked for by {owner}, and {lease.owner} holds {lease.ports}"
            why = f"{why}: unpublish that, or ask for another host port"
            raise self._refuse(Code.PORT_IN_USE, ports, why, [lease.owner])
        self._table.add(Lease(ports, owner))
        self._owned.setdefault(owner, set()).add(ports)

    def _remove(self, owner: str, ports: HostPorts) -> None:
        self._table.remove(ports)
        self._owned[owner].discard(ports)
        if not self._owned[owner]:
            del self._owned[owner]

    def _refuse(self, code: Code, ports: HostPorts, why: str, holders: Iterable[str] = ()) -> Refused:
        what = "ports" if ports.count > 1 else "port"
        return Refused(code, f"{self._proto} {what} {ports} {why}", holders)

    def _exhausted(self, asked: HostPorts) -> Refused:
        what = f"no run of {asked.count} {self._proto} ports" if asked.count > 1 else f"no {self._proto} port"
        where = f"on {asked.key_ip} " if asked.key_ip else ""
        return Refused(
            Code.PORTS_EXHAUSTED,
            f"{what} {where}is left in {self._range[0]}-{self._range[-1]}; "
            "unpublish some, name a port outside, or widen port_range",
            self._owned,
        )
