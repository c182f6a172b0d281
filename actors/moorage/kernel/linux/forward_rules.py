"""What should be in FORWARD of iptables, of either kind, and what drops our traffic all the same. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

from moorage.kernel.protocol import Forwarded
from moorage.model.link_names import is_link_name
from moorage.model.packet_filter import Condition, End, Packet, Rule, Verdict, Walk

CHAIN = "MOORAGE"

_NEW, _DNAT = 1 << 3, 1 << 5  # NF_CT_STATE_BIT(IP_CT_NEW), IPS_DST_NAT
_PROTOCOLS = {"ip": (2,), "ip6": (10,), "inet": (2, 10), "bridge": (2, 10)}
"""The NFPROTO_* whose packets a family's chains see."""
_NAMED = 3
"""As many bridges as one sentence names."""


class Todo(Enum):
    """What a FORWARD chain needs."""

    NOTHING = "nothing"
    REMOVE = "remove"
    MAKE = "make"
    MOVE = "move"


def passing(bridges: Collection[Forwarded]) -> list[str]:
    """The bridges that a rule of iptables can name: those of former versions may be called `vpn+`, a pattern to it."""
    return sorted(each.bridge for each in bridges if is_link_name(each.bridge))


def stopped(where: str, bridges: Collection[Forwarded]) -> list[str]:
    """Warnings of those that cannot be let through a FORWARD that drops."""
    return [
        f"FORWARD of {where} drops the traffic of the bridge {each.bridge!r}, which is not let through, as iptables "
        "would take its name for a pattern: make its network anew on another bridge"
        for each in sorted(bridges)
        if not is_link_name(each.bridge)
    ]


def todo(forward: Sequence[Rule], ours: Sequence[Rule] | None, wanted: Sequence[str]) -> Todo:
    """Compare the rules of FORWARD and of our chain (None: missing) with what lets these bridges pass.

    Ours comes last, before the policy: whatever somebody's rules drop stays dropped.
    """
    jumps = sum(rule.leads_to(CHAIN) for rule in forward)
    if not wanted:
        return Todo.REMOVE if jumps or ours is not None else Todo.NOTHING
    if ours is None or not jumps or [(rule.conditions, rule.verdict) for rule in ours] != _accepting(wanted):
        return Todo.MAKE
    return Todo.NOTHING if jumps == 1 and forward[-1].leads_to(CHAIN) else Todo.MOVE


def pairs(bridges: Sequence[str]) -> list[tuple[str, str]]:
    """The rules of our chain: packets are accepted that come from or go to a bridge."""
    return [(way, bridge) for bridge in bridges for way in ("iifname", "oifname")]


def repaired(done: Todo, where: str) -> list[str]:
    """What was put right where our traffic had not passed, or had passed too early."""
    match done:
        case Todo.MAKE:
            return [f"FORWARD of {where} dropped our traffic, chain {CHAIN} made"]
        case Todo.MOVE:
            return [f"the jump to {CHAIN} was not the last rule of FORWARD of {where}, moved to the end"]
    return []


def _accepting(bridges: Sequence[str]) -> list[tuple[tuple[Condition, ...], Verdict]]:
    return [((Condition(way, bridge.encode() + b"\0"),), Verdict.ACCEPT) for way, bridge in pairs(bridges)]


class Chain(NamedTuple):
    """A chain that all forwarded packets walk: `where` names its table for people, `iptables` whose words it takes."""

    where: str
    family: str
    name: str
    drops: bool
    """Its policy, unless we see to that."""
    iptables: bool


def obstacles(
    chain: Chain,
    rules: Callable[[str], Sequence[Rule]],
    bridges: Collection[Forwarded],
    indices: Mapping[str, int],
) -> list[str]:
    """A sentence where `chain` drops what no rule of it names, and the bridges' traffic with it; else none.

    `rules` gives the rules of a chain of the same table, `indices` those of links by their names.
    """
    walk = Walk(rules)
    unnamed = [_packet(protocol) for protocol in _PROTOCOLS[chain.family]]
    if not any(_is_dropped(chain, walk.end(chain.name, packet)) for packet in unnamed):
        return []
    dropped: dict[str, set[str]] = {}
    last: End | None = None
    for bridge in sorted(bridges):
        for what, packet in _packets(chain, bridge, indices.get(bridge.bridge, 0)):
            end = walk.end(chain.name, packet)
            if _is_dropped(chain, end):
                dropped.setdefault(bridge.bridge, set()).add(what)
                last = end
    return [_sentence(chain, last, dropped)] if dropped else []


def _is_dropped(chain: Chain, end: End | None) -> bool:
    return chain.drops if end is None else end.rule.verdict in {Verdict.DROP, Verdict.REJECT}


def _packet(protocol: int, status: int | None = None) -> dict[str, bytes]:
    """The first of a connection, from and to any link."""
    known = {"nfproto": bytes([protocol]), "ct state": struct.pack("=I", _NEW)}
    return known if status is None else known | {"ct status": struct.pack("=I", status)}


_PUBLISHED, _SENT, _WITHIN = "published ports", "what containers send out", "what neighbours send each other"


def _packets(chain: Chain, bridge: Forwarded, index: int) -> Iterator[tuple[str, Packet]]:
    name, number = bridge.bridge.encode().ljust(16, b"\0"), struct.pack("=I", index)
    for protocol in _PROTOCOLS[chain.family]:
        if protocol == 10 and not bridge.ipv6:
            continue
        if chain.family == "bridge":
            yield _WITHIN, _packet(protocol) | {"ibrname": name, "obrname": name}
            continue
        yield _PUBLISHED, _packet(protocol, _DNAT) | {"oifname": name, "oif": number}
        if not bridge.internal:
            yield _SENT, _packet(protocol, 0) | {"iifname": name, "iif": number}


def _sentence(chain: Chain, end: End | None, dropped: Mapping[str, Collection[str]]) -> str:
    found = set().union(*dropped.values())
    what = " and ".join(each for each in (_PUBLISHED, _SENT, _WITHIN) if each in found)
    names = sorted(dropped)
    bridges = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if names[_NAMED:] else "")
    first = f"chain {chain.name} of {chain.where}"
    cure = _cure(chain, names[0])
    if end is None:
        return (
            f"{first} drops {what} of {bridges} by its policy: accept our bridges in it ({cure}), "
            "or change the policy"
        )
    inside = f" of chain {end.chain}" if end.chain != chain.name else ""
    handle = f" (handle {end.rule.handle})" if end.rule.handle else ""
    return (
        f"{first} {end.rule.verdict}s {what} of {bridges} by rule {end.rule.number}{inside}{handle}, which takes all "
        f"that no rule before it accepts: accept our bridges before it ({cure}), or remove it"
    )


def _cure(chain: Chain, bridge: str) -> str:
    """The words for one bridge, in the language of the chain."""
    if chain.family == "bridge":
        return f'ibrname "{bridge}" accept'
    if chain.iptables:
        return f"-I {chain.name} -i {bridge} -j ACCEPT and -I {chain.name} -o {bridge} -j ACCEPT"
    return f'iifname "{bridge}" accept and oifname "{bridge}" accept'
