"""The addresses of one subnet, given to owners by next fit."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Mapping

from moorage.errors import Code, Refused
from moorage.model.integer_set import IntegerSet
from moorage.model.subnets import ends


class AddressPool:
    """Who holds which address of a subnet, IPv4 or IPv6. Owners are names, of interfaces as a rule.

    Addresses are given as the seed's IPAllocator gives them: in turn, wrapping at the end, and in a full pool
    the address released first is the next one given, the search going on from there. The gateway and the
    `ends` of the subnet are never given.

    With `quarantine` (seconds), a released address is passed over for so long, unless no other is free; then
    that which was released first is given. Times are seconds of any one clock, which may be set back.
    """

    def __init__(self, subnet: str, gateway: str, *, quarantine: float = 0) -> None:
        """Begin with nothing held. Raises Refused (invalid) unless `gateway` is inside `subnet`."""
        self._network = ipaddress.ip_network(subnet, strict=False)
        self._base = int(self._network.network_address)
        self._holders: dict[int, str] = {}
        self._owned: dict[str, set[int]] = {}
        self._span = quarantine
        self._released: OrderedDict[int, float] = OrderedDict()
        self._latest = float("-inf")
        self._unavailable = IntegerSet(self._network.num_addresses)
        self._reserved = {**ends(self._network), self._offset(gateway): "the gateway"}
        for offset in self._reserved:
            self._unavailable.add(offset)
        self._next = self._search(0)

    @property
    def capacity(self) -> int:
        """How many addresses can be held at once."""
        return self._network.num_addresses - len(self._reserved)

    @property
    def free(self) -> int:
        """How many addresses can still be acquired, those in quarantine included."""
        return self.capacity - len(self._holders)

    def acquire(self, owner: str, now: float, want: str | None = None) -> str:
        """Give `owner` an address, or the very one it wants (a quarantined one too).

        Raises Refused: addresses_exhausted; address_in_use naming the holder of what is wanted; invalid when
        that can never be given.
        """
        if want is not None:
            return self._give(self._wanted(want), owner)
        if not self.free:
            raise self._exhausted()
        self._expire(now)
        return self._give(next(iter(self._released)) if self._next is None else self._next, owner)

    def take(self, owner: str, address: str) -> None:
        """Hold what a record says `owner` has; again is no error. Raises Refused as `acquire` does."""
        if self.holder(address) != owner:
            self._give(self._wanted(address), owner)

    def release(self, owner: str, address: str, now: float) -> bool:
        """Give an address back; False when nobody holds it.

        Raises Refused: denied, naming the holder, when it is another's; invalid outside the subnet.
        """
        offset = self._offset(address)
        holder = self._holders.get(offset)
        if holder is None:
            return False
        if holder != owner:
            raise Refused(
                Code.DENIED,
                f"{address} can not be released by {owner}: {holder} holds it, and must release it",
            )
        self._forget(offset, owner)
        self._retire(offset, now)
        return True

    def holder(self, address: str) -> str | None:
        """Who holds an address; None when nobody does. Raises Refused (invalid) outside the subnet."""
        return self._holders.get(self._offset(address))

    def owned(self, owner: str) -> list[str]:
        """The addresses that `owner` holds, in order."""
        return [self._address(offset) for offset in sorted(self._owned.get(owner, ()))]

    def held(self) -> dict[str, str]:
        """All addresses held, and who holds them."""
        return {self._address(offset): owner for offset, owner in self._holders.items()}

    def quarantined(self) -> dict[str, float]:
        """The addresses in quarantine and when they were released, the first released first."""
        return {self._address(offset): released for offset, released in self._released.items()}

    def restore_quarantine(self, released: Mapping[str, float]) -> None:
        """Put addresses in quarantine that were released at these times, leaving out those held by now.

        Raises Refused (invalid) for one outside the subnet, and then puts none there.
        """
        times = {self._offset(address): time for address, time in released.items()}
        for offset, time in sorted(times.items(), key=lambda item: item[1]):
            if self._span > 0 and offset not in self._holders and offset not in self._reserved:
                self._set_aside(offset, time)
        self._next = self._search(self._next or 0)

    def resume_after(self, address: str) -> None:
        """Begin the next search after this address, given last. Raises Refused (invalid) outside."""
        self._next = self._search(self._offset(address) + 1)

    def _offset(self, address: str) -> int:
        try:
            parsed = ipaddress.ip_address(address)
        except ValueError:
            raise Refused(
                Code.INVALID, f"{address!r} is not an address, as one of {self._network} is"
            ) from None
        if "%" in address or parsed not in self._network:
            raise Refused(Code.INVALID, f"{address} is not in {self._network}, of which it was asked")
        return int(parsed) - self._base

    def _address(self, offset: int) -> str:
        return str(self._network[offset])

    def _wanted(self, address: str) -> int:
        offset = self._offset(address)
        if what := self._reserved.get(offset):
            raise Refused(Code.INVALID, f"{address} is {what} of {self._network}; ask for another address")
        if holder := self._holders.get(offset):
            raise Refused(
                Code.ADDRESS_IN_USE,
                f"{address} of {self._network} is held by {holder}; ask for another",
                [holder],
            )
        return offset

    def _give(self, offset: int, owner: str) -> str:
        self._holders[offset] = owner
        self._owned.setdefault(owner, set()).add(offset)
        self._released.pop(offset, None)
        self._unavailable.add(offset)
        if self._next == offset:
            self._next = self._search(offset + 1)
        return self._address(offset)

    def _forget(self, offset: int, owner: str) -> None:
        del self._holders[offset]
        self._owned[owner].discard(offset)
        if not self._owned[owner]:
            del self._owned[owner]

    def _search(self, offset: int) -> int | None:
        found = self._unavailable.next_missing(offset)
        return self._unavailable.next_missing(0) if found is None else found

    def _retire(self, offset: int, now: float) -> None:
        """Put a released address in quarantine or make it available."""
        if self._span > 0:
            self._set_clock(now)
            self._set_aside(offset, now)
        else:
            self._make_available(offset)

    def _set_aside(self, offset: int, released: float) -> None:
        self._unavailable.add(offset)
        self._released[offset] = released

    def _make_available(self, offset: int) -> None:
        self._unavailable.discard(offset)
        if self._next is None:
            self._next = offset

    def _expire(self, now: float) -> None:
        """End the quarantine of those whose time is over."""
        self._set_clock(now)
        while self._released:
            offset, released = next(iter(self._released.items()))
            if now - released < self._span:
                return
            del self._released[offset]
            self._make_available(offset)

    def _set_clock(self, now: float) -> None:
        """Keep releases out of the future when the clock was set back: their quarantine begins anew."""
        if now < self._latest:
            for offset, released in self._released.items():
                self._released[offset] = min(released, now)
        self._latest = now

    def _exhausted(self) -> Refused:
        return Refused(
            Code.ADDRESSES_EXHAUSTED,
            f"an address of {self._network} was asked for and all {self.capacity} are held; "
            "release an interface or create a larger network",
            self._owned,
        )
