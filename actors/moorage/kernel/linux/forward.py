"""Letting our traffic pass the FORWARD chains of iptables, whose drop no accept of ours overrides."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from moorage.kernel.linux import ruleset
from moorage.kernel.linux.legacy import CHAIN, LegacyForwarding, accepted
from moorage.kernel.linux.nftables import NftablesError
from moorage.kernel.protocol import Kept

_FAMILIES = ("ip", "ip6")

Objects = list[dict[str, Any]]


class Forwarding:
    """A chain MOORAGE, jumped to from the top of each FORWARD whose policy is drop.

    It is there only while the policy is drop, so that under another policy all rules keep their say.
    """

    def __init__(self, show: Callable[[str], Objects], run: Callable[[str], None]) -> None:
        """Read with `show` (`list WHAT`) and write with `run`."""
        self._show = show
        self._run = run
        self._legacy = [LegacyForwarding(family) for family in _FAMILIES]
        self._seen = self._fingerprints()

    def keep(self, bridges: Collection[str]) -> Kept:
        """See `Firewall.keep_forwarding`."""
        chains = [entry["chain"] for entry in self._show("chains") if "chain" in entry]
        kept = [self._keep(family, bridges, chains) for family in _FAMILIES]
        kept += [legacy.keep(bridges) for legacy in self._legacy]
        self._seen = self._fingerprints()
        warnings = [line for each in kept for line in each.warnings]
        repaired = [line for each in kept for line in each.repaired]
        return Kept([*warnings, *(_overridden(chains) if bridges else ())], repaired)

    def legacy_differs(self) -> bool:
        """Whether a legacy filter table is not what it was when last looked at; for any thread."""
        return self._seen != self._fingerprints()

    def legacy_changed(self) -> bool:
        """The same, and remember what it is now."""
        before, self._seen = self._seen, self._fingerprints()
        return before != self._seen

    def _fingerprints(self) -> list[int]:
        return [legacy.fingerprint() for legacy in self._legacy]

    def _keep(self, family: str, bridges: Collection[str], chains: Objects) -> Kept:
        wanted = bridges if any(_iptables(chain, family) and _drops(chain) for chain in chains) else ()
        present = any(_named(chain, family, CHAIN) for chain in chains)
        try:
            return Kept((), self._put(family, wanted, present=present))
        except NftablesError as error:
            return Kept([f"chain FORWARD of nftables table {family} filter could not be changed: {error}"])

    def _put(self, family: str, bridges: Collection[str], *, present: bool) -> list[str]:
        if not bridges and not present:
            return []
        jumps = list(_jumps(self._show(f"chain {family} filter FORWARD")))
        if not bridges:
            self._run(_removal(family, jumps))
        elif len(jumps) != 1 or not present or not self._accepts(family, bridges):
            self._run(_removal(family, jumps) * present + _addition(family, bridges))
            return [accepted(f"nftables table {family} filter")]
        return []

    def _accepts(self, family: str, bridges: Collection[str]) -> bool:
        rules = _rules(self._show(f"chain {family} filter {CHAIN}"))
        return [_plain(rule) for rule in rules] == [_accept(*pair) for pair in _pairs(bridges)]


def _pairs(bridges: Collection[str]) -> list[tuple[str, str]]:
    return [(key, bridge) for bridge in sorted(bridges) for key in ("iifname", "oifname")]


def _removal(family: str, jumps: Iterable[int]) -> str:
    deletions = "".join(f"delete rule {family} filter FORWARD handle {handle}\n" for handle in jumps)
    return f"{deletions}flush chain {family} filter {CHAIN}\ndelete chain {family} filter {CHAIN}\n"


def _addition(family: str, bridges: Collection[str]) -> str:
    rules = (
        f'add rule {family} filter {CHAIN} {key} "{name}" counter accept\n' for key, name in _pairs(bridges)
    )
    jump = f"insert rule {family} filter FORWARD counter jump {CHAIN}\n"
    return f"add chain {family} filter {CHAIN}\n{''.join(rules)}{jump}"


def _rules(objects: Objects) -> Iterator[dict[str, Any]]:
    return (entry["rule"] for entry in objects if "rule" in entry)


def _jumps(objects: Objects) -> Iterator[int]:
    for rule in _rules(objects):
        if {"jump": {"target": CHAIN}} in rule["expr"]:
            yield rule["handle"]


def _plain(rule: dict[str, Any]) -> Sequence[object]:
    return [part for part in rule["expr"] if "counter" not in part]


def _accept(key: str, bridge: str) -> Sequence[object]:
    return [{"match": {"op": "==", "left": {"meta": {"key": key}}, "right": bridge}}, {"accept": None}]


def _named(chain: dict[str, Any], family: str, name: str) -> bool:
    return (chain["family"], chain["table"], chain["name"]) == (family, "filter", name)


def _iptables(chain: dict[str, Any], family: str) -> bool:
    return _named(chain, family, "FORWARD")


def _drops(chain: dict[str, Any]) -> bool:
    return chain.get("hook") == "forward" and chain.get("policy") == "drop"


def _overridden(chains: Iterable[dict[str, Any]]) -> Iterator[str]:
    for chain in chains:
        ours = f"{chain['family']} {chain['table']}" == ruleset.TABLE
        if _drops(chain) and not ours and not any(_iptables(chain, family) for family in _FAMILIES):
            yield (
                f"chain {chain['name']} of nftables table {chain['family']} {chain['table']} drops forwarded "
                "traffic by its policy, published ports too: accept our bridges in it, or change the policy"
            )
