"""Letting our traffic pass the FORWARD chains of iptables, whose drop no accept of ours overrides."""

from __future__ import annotations

import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from moorage.errors import Code, Refused
from moorage.kernel.linux import nft_rules, ruleset
from moorage.kernel.linux.forward_rules import (
    CHAIN,
    Chain,
    Todo,
    obstacles,
    pairs,
    passing,
    repaired,
    stopped,
    todo,
)
from moorage.kernel.linux.legacy import LegacyForwarding
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import NftablesError
from moorage.kernel.protocol import Forwarded, Kept
from moorage.model.packet_filter import Rule

_FAMILIES = ("ip", "ip6")
_OURS = ruleset.TABLE.partition(" ")[2]
"""The name of our tables, of whatever family."""


class Forwarding:
    """A chain MOORAGE, jumped to from the end of each FORWARD whose policy is drop.

    It comes after the rules of others, which keep their say, and is there only while the policy is drop.
    """

    def __init__(self, netlink: Netlink, run: Callable[[str], None]) -> None:
        """Read through `netlink`, which stays the caller's, and write with `run`."""
        self._netlink = netlink
        self._run = run
        self._legacy = {family: LegacyForwarding(family) for family in _FAMILIES}
        self._seen = self._fingerprints()

    def keep(self, bridges: Collection[Forwarded]) -> Kept:
        """See `Firewall.keep_forwarding`. Raises Refused (unavailable) while rules change faster than they are read."""
        try:
            return self._look(bridges)
        except InterruptedError as error:
            text = "the rules of others changed faster than they could be read: try again"
            raise Refused(Code.UNAVAILABLE, text) from error

    def _look(self, bridges: Collection[Forwarded]) -> Kept:
        self._seen = self._fingerprints()  # before it is read: what changes meanwhile is seen later
        chains, indices = nft_rules.chains(self._netlink), _indices(bridges)
        kept = [self._keep(family, _of(family, bridges), chains) for family in _FAMILIES]
        kept += [legacy.keep(_of(family, bridges), indices) for family, legacy in self._legacy.items()]
        warnings = [line for each in kept for line in each.warnings]
        warnings += self._obstacles(chains, bridges, indices) if bridges else ()
        return Kept(warnings, [line for each in kept for line in each.repaired])

    def legacy_differs(self) -> bool:
        """Whether a legacy filter table is not what it was when last looked at; for any thread."""
        return self._seen != self._fingerprints()

    def legacy_changed(self) -> bool:
        """The same, and remember what it is now."""
        before, self._seen = self._seen, self._fingerprints()
        return before != self._seen

    def _fingerprints(self) -> list[int]:
        return [legacy.fingerprint() for legacy in self._legacy.values()]

    def _keep(self, family: str, bridges: Collection[Forwarded], chains: Sequence[nft_rules.Chain]) -> Kept:
        where = f"nftables table {family} filter"
        forward = next((chain for chain in chains if _is_iptables(chain, family)), None)
        present = any((each.family, each.table, each.name) == (family, "filter", CHAIN) for each in chains)
        if forward is None and not present:
            return Kept()
        concerned = bridges if forward is not None and forward.drops else ()
        warnings = stopped(where, concerned)
        try:
            return Kept(warnings, repaired(self._put(family, passing(concerned), present=present), where))
        except NftablesError as error:
            return Kept([f"chain FORWARD of {where} could not be changed: {error}", *warnings])

    def _put(self, family: str, wanted: Sequence[str], *, present: bool) -> Todo:
        forward = self._rules(family, "filter", "FORWARD")
        ours = self._rules(family, "filter", CHAIN) if present else None
        needed = todo(forward, ours, wanted)
        jumps = [rule.handle for rule in forward if rule.leads_to(CHAIN)]
        deletions = "".join(f"delete rule {family} filter FORWARD handle {handle}\n" for handle in jumps)
        match needed:
            case Todo.REMOVE:
                self._run(deletions + _removal(family))
            case Todo.MOVE:
                self._run(deletions + _jump(family))
            case Todo.MAKE:
                self._run(deletions + _removal(family) * present + _addition(family, wanted) + _jump(family))
        return needed

    def _obstacles(
        self, chains: Sequence[nft_rules.Chain], bridges: Collection[Forwarded], indices: Mapping[str, int]
    ) -> Iterator[str]:
        for chain in chains:
            if not chain.forward or chain.table == _OURS:
                continue
            iptables = any(_is_iptables(chain, family) for family in _FAMILIES)
            named = f"nftables table {chain.family} {chain.table}"
            described = Chain(named, chain.family, chain.name, chain.drops and not iptables, iptables)
            yield from obstacles(described, self._of_table(chain), _of(chain.family, bridges), indices)

    def _of_table(self, chain: nft_rules.Chain) -> Callable[[str], list[Rule]]:
        return lambda name: self._rules(chain.family, chain.table, name)

    def _rules(self, family: str, table: str, chain: str) -> list[Rule]:
        return nft_rules.rules(self._netlink, family, table, chain)


def _removal(family: str) -> str:
    return f"flush chain {family} filter {CHAIN}\ndelete chain {family} filter {CHAIN}\n"


def _addition(family: str, bridges: Sequence[str]) -> str:
    rules = (
        f"add rule {family} filter {CHAIN} {way} {ruleset.quoted(bridge)} counter accept\n"
        for way, bridge in pairs(bridges)
    )
    return f"add chain {family} filter {CHAIN}\n{''.join(rules)}"


def _jump(family: str) -> str:
    return f"add rule {family} filter FORWARD counter jump {CHAIN}\n"


def _of(family: str, bridges: Collection[Forwarded]) -> list[Forwarded]:
    """The bridges that have traffic of that family."""
    return [each for each in bridges if each.ipv6 or family != "ip6"]


def _indices(bridges: Collection[Forwarded]) -> dict[str, int]:
    names = {each.bridge for each in bridges}
    return {name: index for index, name in socket.if_nameindex() if name in names} if names else {}


def _is_iptables(chain: nft_rules.Chain, family: str) -> bool:
    return (chain.family, chain.table, chain.name) == (family, "filter", "FORWARD") and chain.forward
