"""What is wrong with the nftables table, and the one transaction that puts it right. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from moorage.kernel.linux import ruleset
from moorage.kernel.linux.definitions import Listing
from moorage.kernel.protocol import Element
from moorage.model.elements import is_published, ports_of

_LISTED = 10


def structure(present: Listing) -> dict[str, str]:
    """The definitions alone: what writing the rules anew cannot put right."""
    return {owner: lines[0] for owner, lines in present.items()}


def complete(present: Listing) -> bool:
    """Whether exactly our sets, maps and chains are there, whatever is in them."""
    return {
        tuple(owner.split(" ", 1)) for owner in present if not owner.startswith("table ")
    } == ruleset.names()


def rebuild(rules: str, elements: Collection[Element]) -> list[str]:
    """Replace the table, whatever it is, by one of these: a packet meets the old one or the new one."""
    table = f"table {ruleset.TABLE}\n"
    return [f"{table}delete {table}{rules}", *ruleset.change(elements, ())]


def rewrite(rules: str, wanted: Collection[Element], present: Collection[Element]) -> list[str]:
    """Replace the rules and adjust the elements, in a table whose sets and chains are ours."""
    return [f"flush table {ruleset.TABLE}\n{rules}", *adjust(wanted, present)]


def can_adjust(wanted: Collection[Element], present: Collection[Element]) -> bool:
    """Whether there is none to be removed that has a name that cannot be said; then the table is to be replaced."""
    return all(map(ruleset.can_say, set(present) - set(wanted)))


def adjust(wanted: Collection[Element], present: Collection[Element]) -> list[str]:
    """Remove the elements that should not be there, which `can_adjust`, and add those that are missing."""
    ours, there = set(wanted), set(present)
    return ruleset.change(sorted(ours - there, key=repr), sorted(there - ours, key=_order))


def _order(element: Element) -> tuple[int, str]:
    """Runs by their first port: the kernel finds by that alone which one to delete, and one may cover another."""
    return (ports_of(element).start if is_published(element) else 0), repr(element)


def sentences(
    before: Listing | None,
    after: Listing,
    wanted: Collection[Element],
    present: Collection[Element],
    table: str = ruleset.TABLE,
) -> list[str]:
    """What was wrong: a sentence for each chain and set, for ten elements at most, and one for the rest."""
    if before is None:
        return [f"table {table} was missing"]
    return [*_definitions(before, after), *_shortened(list(_elements(set(wanted), set(present))))]


def _definitions(before: Listing, after: Listing) -> Iterator[str]:
    for owner in sorted(before.keys() | after.keys()):
        if owner not in before:
            yield f"{owner} was missing"
        elif owner not in after:
            yield f"{owner} was not ours"
        elif before[owner] != after[owner]:
            yield f"{owner} had been changed"


def _elements(wanted: set[Element], present: set[Element]) -> Iterator[str]:
    held = {(element.container, element.key) for element in present}
    needed = {(element.container, element.key) for element in wanted}
    for element in sorted(wanted - present, key=repr):
        changed = (element.container, element.key) in held
        yield f"element {ruleset.describe(element)} {'had another value' if changed else 'was missing'}"
    for element in sorted(present - wanted, key=repr):
        if (element.container, element.key) not in needed:
            yield f"element {ruleset.describe(element)} was not ours"


def _shortened(lines: list[str]) -> list[str]:
    if len(lines) <= _LISTED:
        return lines
    return [*lines[:_LISTED], f"and {len(lines) - _LISTED} more elements were wrong"]
