"""Which ports masquerading takes at this moment: those of blocks that are nobody's else (`model/spread.py`)."""

from __future__ import annotations

import socket
from collections.abc import Collection, Iterable

from moorage.kernel.linux import listening, reserved, ruleset
from moorage.kernel.protocol import Element
from moorage.model import spread

Socket = tuple[int, int]
"""A protocol's number, and a port."""

SPREADING = frozenset({"lent", "spread"})
"""The containers of its elements."""
_PUBLISHED = (socket.IPPROTO_TCP, socket.IPPROTO_UDP, socket.IPPROTO_SCTP)


def _run(ports: range) -> str:
    return f"{ports[0]}-{ports[-1]}"


_SLOTS = {_run(ports): slot for slot, ports in enumerate(spread.SLOTS)}


class Masquerading:
    """Knows who is at which port, and gives the elements that lead masquerading elsewhere. For one thread."""

    def __init__(self) -> None:
        """Look who listens now; nothing is known to be published yet. Raises OSError."""
        self._published: set[int] = set()
        self._listening = _listening()
        self._ours: frozenset[int] = frozenset()
        self._automatic = range(0)
        self._slots: dict[int, int] = {}

    def adopt(self, present: Iterable[Element]) -> None:
        """Go on with what a former life's table has, as far as it can stay so; nothing of that once there is more."""
        if self._slots:
            return
        names = {name: number for number, name in enumerate(ruleset.blocks())}
        for element in present:
            if element.container == "spread" and element.key[0] in _SLOTS and element.value[0] in names:
                self._slots[_SLOTS[str(element.key[0])]] = names[str(element.value[0])]

    def begin(self, published: Collection[int], ours: frozenset[int], automatic: range) -> None:
        """Know all host ports that are published, the reserved ones that are ours, and those given automatically."""
        self._published, self._ours, self._automatic = set(published), ours, automatic

    def publish(self, add: Collection[int], remove: Collection[int]) -> bool:
        """Know which host ports came and went; whether masquerading could take any of them."""
        self._published.difference_update(remove)
        self._published.update(add)
        return any(spread.of_port(port) is not None for ports in (add, remove) for port in ports)

    def differ(self) -> bool:
        """Whether others listen than when last looked; for any thread."""
        return _listening() != self._listening

    def listen(self) -> frozenset[Socket]:
        """See who listens now; those that did not before."""
        before, self._listening = self._listening, _listening()
        return self._listening - before

    def wished(self) -> frozenset[int]:
        """The ports to be reserved, so that no program is given one of them."""
        ephemeral = reserved.ephemeral()
        return frozenset(port for number in self._wished() for port in _within(number, ephemeral))

    def elements(self) -> frozenset[Element]:
        """What leads masquerading into blocks that are nobody's; nothing where there is none."""
        held, ephemeral = reserved.read(), reserved.ephemeral()
        blocks = [each for each in self._wished() if held.issuperset(_within(each, ephemeral))]
        self._slots = spread.assign(self._slots, blocks)
        names = list(ruleset.blocks())
        lent = (spread.BLOCKS[number] for number in set(self._slots.values()))
        return frozenset(
            [
                *(
                    Element("spread", (_run(spread.SLOTS[slot]),), (names[number],))
                    for slot, number in self._slots.items()
                ),
                *(Element("lent", (_run(ports),)) for ports in lent),
            ]
        )

    def _wished(self) -> frozenset[int]:
        taken = self._published.union(port for _, port in self._listening)
        others = reserved.read() - self._ours
        return spread.wished(spread.free(taken), others, reserved.ephemeral(), self._automatic)


def _within(number: int, ports: range) -> range:
    block = spread.BLOCKS[number]
    return range(max(block.start, ports.start), min(block.stop, ports.stop))


def sockets_of(ports: Iterable[int]) -> frozenset[Socket]:
    """These ports of every protocol, as far as masquerading could have taken them."""
    return frozenset(
        (proto, port) for port in ports if spread.of_port(port) is not None for proto in _PUBLISHED
    )


def _listening() -> frozenset[Socket]:
    return listening.read(spread.FIRST, spread.LAST)
