"""How many of the ports that the host's own connections go out from may be published."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from moorage.errors import Code, Refused


class OverHalf(Refused):
    """More than half of them would be; `own` are all of them."""

    def __init__(self, text: str, own: frozenset[int]) -> None:
        """Keep them beside the sentence."""
        super().__init__(Code.LIMIT, text)
        self.own = own


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The ports of `ip_local_port_range`, and those of them that others named in `ip_local_reserved_ports`.

    A published port is taken from all protocols, for the kernel reserves it for none alone.
    """

    ports: range
    others: frozenset[int]

    def room(self, held: Collection[int]) -> int:
        """How many more may be published where `held` are."""
        own = frozenset(self.ports) - self.others
        return len(own) // 2 - len(own.intersection(held))

    def refusal(self, owner: str, held: Collection[int], asked: Iterable[int]) -> OverHalf | None:
        """Why `asked` may not be published where `held` are; None where they take nothing more, or leave half."""
        own = frozenset(self.ports) - self.others
        new = own.intersection(asked).difference(held)
        taken = len(own.intersection(held)) + len(new)
        if not new or 2 * taken <= len(own):
            return None
        return OverHalf(
            f"{owner} asked for {_named(sorted(new))}, and of the {len(own)} ports that the host's own connections go "
            f"out from ({self.ports[0]}-{self.ports[-1]}, net.ipv4.ip_local_port_range) {taken} would be published, "
            f"where half of them stay the host's, whatever the protocol: ask for ports outside of that range, "
            "make it wider, or name in net.ipv4.ip_local_reserved_ports those that the host can do without",
            own,
        )


def _named(ports: list[int]) -> str:
    if len(ports) == 1:
        return f"port {ports[0]}"
    return f"{len(ports)} ports of {ports[0]}-{ports[-1]}"
