"""The nftables table of bridges: what containers may send, by their ports."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from moorage.errors import Code, Refused
from moorage.kernel.linux import audit, definitions, elements, ruleset
from moorage.kernel.linux.definitions import Listing
from moorage.kernel.linux.nfnetlink import Netlink
from moorage.kernel.linux.nftables import NftablesError
from moorage.kernel.linux.ruleset import GUARD
from moorage.kernel.protocol import Element

UNGUARDED = (
    "this kernel has no nftables for bridges, so containers of one network can pose as each other and their gateway: "
    "one with CONFIG_NF_TABLES_BRIDGE keeps them to their own addresses"
)

Run = Callable[[Sequence[str]], None]
"""Runs commands as one transaction."""


class PortGuard:
    """Keeps the table for the thread that opened it; a kernel that has none for bridges is left without."""

    def __init__(self, netlink: Netlink, run: Run) -> None:
        self._netlink = netlink
        self._run = run
        self._reference: Listing | None = None
        self.supported = True
        """Whether the kernel has such tables, as far as that is known."""

    def install(self, wanted: Collection[Element]) -> list[str]:
        """Make the table hold our rules and these elements; a sentence for each thing that was not so."""
        if not self.supported:
            return []
        before, present = self._look()
        adjustable = before is not None and before == self._reference and audit.can_adjust(wanted, present)
        try:
            self._run(audit.adjust(wanted, present) if adjustable else _rebuild(wanted))
        except NftablesError as error:
            self.supported = self._is_supported()
            if not self.supported:
                return []
            text = f"the kernel did not take the nftables table {GUARD}, nothing of it was changed: {error}"
            raise Refused(Code.UNSUPPORTED, text) from error
        after = before if adjustable else self._look()[0]
        self._reference = after
        return audit.sentences(before, after or {}, wanted, present, GUARD)

    def remove(self) -> None:
        """Remove the table; nothing to remove is no error."""
        self._reference = None
        try:
            self._run([f"table {GUARD}\ndelete table {GUARD}\n"])
        except NftablesError:
            if self._is_supported():
                raise

    def _look(self) -> tuple[Listing | None, set[Element]]:
        listing = definitions.read(self._netlink, GUARD)
        return listing, set() if listing is None else elements.read(self._netlink, GUARD)

    def _is_supported(self) -> bool:
        """Whether a table of bridges can be made, which is no change where it is there."""
        try:
            self._run([f"add table {GUARD}\n"])
        except NftablesError:
            return False
        return True


def holds(element: Element) -> bool:
    """Whether it is an element of this table."""
    return ruleset.container(element.container).table == GUARD


def _rebuild(wanted: Collection[Element]) -> list[str]:
    table = f"table {GUARD}\n"
    return [f"{table}delete {table}{ruleset.rules(GUARD)}", *ruleset.change(wanted, ())]
