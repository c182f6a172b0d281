"""The nftables table that marks answers by the address that was asked: there only while something is to be marked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from moorage.kernel.linux.nftables import NftablesError
from moorage.kernel.linux.policy.plan import Span

TABLE = "inet moorage_policy"

_RULES = """table {table} {{
	comment "owned by moorage - do not edit"
	set nets4 {{ type ipv4_addr; flags interval; {nets4} }}
	set nets6 {{ type ipv6_addr; flags interval; {nets6} }}
	map asked4 {{ type ipv4_addr : mark; flags interval; {asked4} }}
	map asked6 {{ type ipv6_addr : mark; flags interval; {asked6} }}
	# After DNAT, so that the first packet has its container, and before routing. What has a mark is somebody's.
	chain follow {{
		type filter hook prerouting priority dstnat + 10; policy accept;
		ct status dnat meta mark 0 goto answer
	}}
	# Answers, and what asks: where a link takes only what would be answered by it, the mark says how that would be.
	chain answer {{
		ip saddr @nets4 meta mark set ct original ip daddr map @asked4 accept
		ip daddr @nets4 meta mark set ct original ip daddr map @asked4 accept
		ip6 saddr @nets6 meta mark set ct original ip6 daddr map @asked6 accept
		ip6 daddr @nets6 meta mark set ct original ip6 daddr map @asked6 accept
	}}
}}
"""
_NOTHING = f"table {TABLE}\ndelete table {TABLE}\n"

Objects = list[dict[str, Any]]


class Marking:
    """The table, written whole in one transaction whenever it is not as it should be."""

    def __init__(self, show: Callable[[str], Objects], run: Callable[[str], None]) -> None:
        """Read with `show` (`list WHAT`, elements too), and write with `run`."""
        self._show = show
        self._run = run
        self._text = ""
        self._listed: Objects | None = None

    def keep(self, spans: Sequence[Span], subnets: Iterable[str]) -> bool:
        """Mark answers of `subnets` by `spans`; whether something had to be changed. Raises NftablesError."""
        text = _text(spans, sorted(subnets)) if spans else ""
        if not text and self._listed == []:
            return False
        present = self._present()
        if text == self._text and present == self._listed:
            return False
        if text or present:
            self._run(_NOTHING + text)
        self._text, self._listed = text, self._present() if text else []
        return bool(text or present)

    def _present(self) -> Objects:
        try:
            return self._show(f"table {TABLE}")
        except NftablesError:
            return []


def _text(spans: Sequence[Span], subnets: Sequence[str]) -> str:
    asked = [
        (f"{span.first}-{span.last}" if span.first != span.last else span.first, span.mark) for span in spans
    ]
    return _RULES.format(
        table=TABLE,
        nets4=_elements(subnet for subnet in subnets if ":" not in subnet),
        nets6=_elements(subnet for subnet in subnets if ":" in subnet),
        asked4=_elements(f"{addresses} : {mark}" for addresses, mark in asked if ":" not in addresses),
        asked6=_elements(f"{addresses} : {mark}" for addresses, mark in asked if ":" in addresses),
    )


def _elements(parts: Iterable[str]) -> str:
    listed = ", ".join(parts)
    return f"elements = {{ {listed} }}" if listed else ""
