"""Which ports masquerading takes at this moment: those of blocks that are nobody's else (`model/spread.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Hashable, Iterable

from moorage.kernel.linux import listening, reserved, ruleset
from moorage.kernel.linux.flows import PROTOCOLS
from moorage.kernel.protocol import Element
from moorage.model import spread

_AT_ONCE = 64
"""Ports that programs come to within a second, each of which is cleared: more than a program that starts has."""

Socket = tuple[int, int]
"""A protocol's number, and a port."""

SPREADING = frozenset({"lent", "spread"})
"""The containers of its elements."""


def _run(ports: range) -> str:
    return f"{ports[0]}-{ports[-1]}"


_SLOTS = {_run(ports): slot for slot, ports in enumerate(spread.SLOTS)}


class Masquerading:
    """Knows who is at which port, and gives the elements that lead masquerading elsewhere. For one thread."""

    def __init__(self) -> None:
        """Look who listens now; nothing is known to be published yet. Raises OSError."""
        self._published: set[int] = set()
        self._loads: Counter[int | None] = Counter()
        self._listening = _listening()
        self._ours: frozenset[int] = frozenset()
        self._automatic = range(0)
        self._slots: dict[int, int] = {}
        self._considered: tuple[Hashable, ...] | None = None
        self._elements: frozenset[Element] = frozenset()

    def adopt(self, present: Iterable[Element]) -> None:
        """Go on with what a former life's table has, as far as it can stay so; nothing of that once there is more."""
        if self._slots:
            return
        self._considered = None
        names = {name: number for number, name in enumerate(ruleset.blocks())}
        for element in present:
            if element.container == "spread" and element.key[0] in _SLOTS and element.value[0] in names:
                self._slots[_SLOTS[str(element.key[0])]] = names[str(element.value[0])]

    def begin(self, published: Collection[int], ours: frozenset[int], automatic: range) -> None:
        """Know all host ports that are published, the reserved ones that are ours, and those given automatically."""
        self._published, self._ours, self._automatic = set(published), ours, automatic
        self._loads = Counter(map(spread.of_port, self._published))

    def publish(self, add: Collection[int], remove: Collection[int]) -> bool:
        """Know which host ports came and went; whether masquerading could take any of them."""
        gone = self._published.intersection(remove)
        self._published -= gone
        come = set(add) - self._published
        self._published |= come
        self._loads.subtract(map(spread.of_port, gone))
        self._loads.update(map(spread.of_port, come))
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
        considered = (reserved.text(), reserved.ephemeral(), self._free(), self._ours, self._automatic)
        if considered != self._considered:
            self._elements = self._spread()
            self._considered = considered
        return self._elements

    def _spread(self) -> frozenset[Element]:
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

    def _free(self) -> frozenset[int]:
        published = [number for number, load in self._loads.items() if load]
        return spread.free(port for _, port in self._listening).difference(published)

    def _wished(self) -> frozenset[int]:
        others = reserved.read() - self._ours
        return spread.wished(self._free(), others, reserved.ephemeral(), self._automatic)


def _within(number: int, ports: range) -> range:
    block = spread.BLOCKS[number]
    return range(max(block.start, ports.start), min(block.stop, ports.stop))


def shadowed(came: frozenset[Socket]) -> frozenset[Socket]:
    """Those of the programs that have come whose strangers a container could have the datagrams of.

    A stranger's TCP connection comes from a port that the container has not spoken to. And who comes to thousands of
    ports at once ends nobody's conversations there: any local user may.
    """
    datagrams = frozenset(each for each in came if each[0] == PROTOCOLS["udp"])
    return datagrams if len(datagrams) <= _AT_ONCE else frozenset()


def sockets_of(published: Iterable[tuple[str, int]]) -> frozenset[Socket]:
    """These ports by their protocols' numbers, as far as masquerading could have taken them."""
    return frozenset(
        (PROTOCOLS[proto], port) for proto, port in published if spread.of_port(port) is not None
    )


def _listening() -> frozenset[Socket]:
    return listening.read(spread.FIRST, spread.LAST)
