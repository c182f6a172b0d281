"""What the host's routing rules say to a packet, as far as that can be told beforehand. Pure."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from socket import AF_INET6

from moorage.kernel.linux.policy.rules import Part, Prefix, Rule

_WHOLE = 0xFFFFFFFF
_EFFECTS = {Part.TARGET, Part.REALMS, Part.SUPPRESS_GROUP, Part.SUPPRESS_PREFIX, Part.TABLE}
_ALIKE = {
    *(Part.DST, Part.IP_PROTO, Part.DPORTS, Part.DPORT_MASK),
    *(Part.DSCP, Part.DSCP_MASK, Part.FLOW_LABEL, Part.FLOW_LABEL_MASK),
}
"""What selects alike among answers of containers and of services: the client's address and port, the header."""
_TOLD = {Part.SRC, Part.IIF, Part.OIF, Part.MARK, Part.MASK, Part.TUNNEL, Part.L3MDEV}
"""What can be told beforehand."""
_UNTOLD: dict[int, str] = {
    Part.UIDS: "by the user",
    Part.SPORTS: "by the port asked",
    Part.SPORT_MASK: "by the port asked",
}


@dataclass(frozen=True, slots=True)
class View:
    """What rules say to a packet: `met` are those that it meets, with nothing left in them but what they do and what
    tells packets of one kind apart. Equal to another where they do the same, wherever in the list they say so.
    """

    behaviour: tuple[Rule, ...]
    met: tuple[Rule, ...] = field(compare=False)
    untold: frozenset[str] = field(compare=False)
    """A sentence's beginning for each rule of which it cannot be told."""

    @property
    def digest(self) -> int:
        """A number that follows from the behaviour alone."""
        return zlib.crc32(repr(self.behaviour).encode())

    def place_of(self, priority: int) -> int:
        """Where in `met` a jump to that priority ends."""
        later = (place for place, rule in enumerate(self.met) if rule.priority >= priority)
        return next(later, len(self.met))


def view(rules: Sequence[Rule], source: Prefix, iif: str) -> View:
    """How packets from `source` that came by the link `iif` (`lo`: by none) are treated.

    Every rule is from all of `source`, or from nothing of it.
    """
    judged = [(rule, _judge(rule, source, iif)) for rule in rules]
    met = tuple(left for _, left in judged if isinstance(left, Rule))
    untold = (f"{rule} selects {why}" for rule, why in judged if isinstance(why, str))
    plain = tuple(rule._replace(priority=0, protocol=0) for rule in met)
    return View(plain, met, frozenset(untold))


def prefixes_of(family: int, rules: Sequence[Rule]) -> list[Prefix]:
    """What rules are from, the largest at last; of two either one holds the other or they are apart."""
    every = ip_network("::/0" if family == AF_INET6 else "0.0.0.0/0")
    return sorted({every, *(rule.source for rule in rules)}, key=lambda each: (-each.prefixlen, each))


def views_of_containers(
    rules: Sequence[Rule], prefixes: Collection[Prefix], networks: Sequence[tuple[str, str]]
) -> Iterator[View]:
    """How packets of containers are treated; `prefixes` as `prefixes_of` gives them."""
    for subnet, bridge in networks:
        network = ip_network(subnet)
        for prefix in prefixes:
            if prefix.prefixlen > network.prefixlen and prefix.overlaps(network):
                yield view(rules, prefix, bridge)
        yield view(rules, next(prefix for prefix in prefixes if _holds(prefix, network)), bridge)


def _judge(rule: Rule, source: Prefix, iif: str) -> Rule | str | None:
    """What is left of a rule where such packets may meet it, None where they do not, or why that is not known."""
    if rule.unresolved:
        return None
    effects = tuple((kind, value) for kind, value in rule.parts if kind in _EFFECTS)
    if not _may_meet(rule, source, iif):
        return (
            rule._replace(parts=effects, dst_len=0, src_len=0, tos=0, invert=False) if rule.invert else None
        )
    others = {kind for kind, _ in rule.parts} - _EFFECTS - _ALIKE - _TOLD
    if others:
        return _UNTOLD.get(min(others), "by what is not known here")
    alike = tuple((kind, value) for kind, value in rule.parts if kind in _ALIKE)
    if rule.invert:
        return "by what is not so" if alike or rule.tos else None
    return rule._replace(parts=tuple(sorted(effects + alike)), src_len=0)


def _may_meet(rule: Rule, source: Prefix, iif: str) -> bool:
    """Whether what can be told is as the rule wants it, of a packet without mark, tunnel, VRF or link to leave by."""
    link = rule.part(Part.IIF)
    return (
        _holds(rule.source, source)
        and (link is None or link.rstrip(b"\0") == iif.encode())
        and not any(rule.part(kind) is not None for kind in (Part.OIF, Part.TUNNEL, Part.L3MDEV))
        and not rule.number(Part.MARK) & rule.number(Part.MASK, _WHOLE)
    )


def _holds(prefix: Prefix, other: Prefix) -> bool:
    return prefix.prefixlen <= other.prefixlen and prefix.overlaps(other)
