"""What somebody's packet filter does with our packets, as far as its rules tell. Pure.

A packet is a map of those of its properties that are known: a rule that asks for another may match or not, and is taken
not to. So the end that is found is that of a packet which no rule names: what a chain does by its last rule or policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import NamedTuple

Packet = Mapping[str, bytes]
"""Properties by their names in nftables (`iifname`, `ct state`), as nftables has them in a register."""


class Verdict(StrEnum):
    """What a rule does with a packet that it matches."""

    NONE = "none"
    """The next rule is asked."""
    ACCEPT = "accept"
    DROP = "drop"
    REJECT = "reject"
    """Dropped, and its sender is told."""
    RETURN = "return"
    JUMP = "jump"
    GOTO = "goto"


class Interval(NamedTuple):
    """Values from `first` to before `end`; without an end, to the last."""

    first: bytes
    end: bytes | None


class Condition(NamedTuple):
    """A property, masked, begins with `data`, or is among some; `negated` is the opposite.

    A condition that is not understood has no property: whether it holds is unknown.
    """

    of: str = ""
    data: bytes | frozenset[bytes] | tuple[Interval, ...] = b""
    mask: bytes = b""
    negated: bool = False

    def holds(self, packet: Packet) -> bool | None:
        """Whether it does; None where that is unknown."""
        value = packet.get(self.of)
        if value is None or len(self.mask) not in {0, len(value)}:
            return None
        if self.mask:
            value = bytes(a & b for a, b in zip(value, self.mask, strict=True))
        return _is_among(value, self.data) != self.negated


class Rule(NamedTuple):
    """A rule: `number` counts from 1 in its chain, `handle` is nftables' name for it (0: none)."""

    number: int
    conditions: tuple[Condition, ...]
    verdict: Verdict
    target: str = ""
    """The chain that a jump or goto leads to."""
    handle: int = 0

    def matches(self, packet: Packet) -> bool:
        """Whether it certainly does."""
        return all(condition.holds(packet) for condition in self.conditions)

    def leads_to(self, chain: str) -> bool:
        """Whether it sends every packet there."""
        return not self.conditions and self.verdict is Verdict.JUMP and self.target == chain


class End(NamedTuple):
    """Which rule of which chain decided."""

    chain: str
    rule: Rule


class Walk:
    """The ends of packets in chains that `rules` gives by name; each chain is asked for once."""

    def __init__(self, rules: Callable[[str], Sequence[Rule]]) -> None:
        self._rules = rules
        self._read: dict[str, Sequence[Rule]] = {}

    def end(self, chain: str, packet: Packet) -> End | None:
        """What decides about `packet` in the base chain `chain`; None where its policy does."""
        return self._end(chain, packet, {})

    def _end(self, chain: str, packet: Packet, known: dict[str, End | None]) -> End | None:
        if chain not in known:
            known[chain] = None  # a chain that led to itself would be none; the kernel takes none
            known[chain] = self._decide(chain, packet, known)
        return known[chain]

    def _decide(self, chain: str, packet: Packet, known: dict[str, End | None]) -> End | None:
        for rule in self._of(chain):
            if not rule.matches(packet):
                continue
            match rule.verdict:
                case Verdict.ACCEPT | Verdict.DROP | Verdict.REJECT:
                    return End(chain, rule)
                case Verdict.RETURN:
                    return None
                case Verdict.GOTO:
                    return self._end(rule.target, packet, known)
                case Verdict.JUMP if (end := self._end(rule.target, packet, known)) is not None:
                    return end
        return None

    def _of(self, chain: str) -> Sequence[Rule]:
        if chain not in self._read:
            self._read[chain] = self._rules(chain)
        return self._read[chain]


def _is_among(value: bytes, data: bytes | frozenset[bytes] | tuple[Interval, ...]) -> bool:
    if isinstance(data, bytes):
        return value.startswith(data)
    if isinstance(data, frozenset):
        return value in data
    return any(each.first <= value and (each.end is None or value < each.end) for each in data)
