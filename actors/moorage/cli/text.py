"""Values as lines for people: tables, a tree, one line an event."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from moorage.model.port_spec import format_ports
from moorage.printable import printable
from moorage.rpc.wire import value_from_wire
from moorage.values import ActorInfo, Interface, Mapping, Network, Status, Step


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows under their heads, columns two spaces apart, nothing after the last word of a line."""
    lines = [tuple(head), *(tuple(printable(str(cell)) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def interfaces(values: Iterable[Interface]) -> str:
    """Return what `ps` shows."""
    head = ("ID", "NETWORK", "ADDRESS", "NETNS", "PORTS")
    return table(
        head,
        ((each.id, each.network, each.ip, each.netns or "-", format_ports(each.ports)) for each in values),
    )


def networks(values: Iterable[Network]) -> str:
    """Return what `networks` shows."""
    head = ("NAME", "BRIDGE", "SUBNET", "GATEWAY", "SUBNET6", "INTERNAL", "MTU", "PROXY", "GUARD")
    rows = (
        (
            each.name,
            each.bridge,
            each.subnet,
            each.gateway,
            each.subnet6 or "-",
            _yes(each.internal),
            each.mtu,
            each.proxy,
            each.guard,
        )
        for each in values
    )
    return table(head, rows)


def tree(actors: Sequence[ActorInfo]) -> str:
    """Return the actors, each indented under its parent, at the margin where that is not among them."""
    rows = (
        ("  " * depth + each.name, each.kind, each.state, each.restarts, each.mailbox, each.since)
        for depth, each in _descend(actors)
    )
    return table(("ACTOR", "KIND", "STATE", "RESTARTS", "MAILBOX", "SINCE"), rows)


def status(value: Status) -> str:
    """Return a line for each number, and one for each warning."""
    names = ("networks", "interfaces", "mappings", "proxies", "kernel", "restarts", "repaired", "started")
    lines = [(name, getattr(value, name)) for name in names] + [("warning", each) for each in value.warnings]
    return "\n".join(f"{name + ':':<12}{printable(str(each))}" for name, each in lines)


def steps(values: Iterable[Step]) -> str:
    """Return what `why` shows."""
    return table(("", "STEP", ""), (("ok" if each.ok else "NO", each.step, each.text) for each in values))


def event(value: dict[str, Any]) -> str:
    """Return `TIME EVENT key=value …`, a mapping in the notation of `ps`."""
    about = {key: each for key, each in value.items() if key not in {"event", "time"}}
    words = [str(value.get("time", "-")), str(value.get("event", "-"))]
    return printable(" ".join([*words, *(f"{key}={_about(each)}" for key, each in about.items())]))


def _about(value: Any) -> str:
    if isinstance(value, dict):
        return format_ports([value_from_wire(Mapping, value)])
    return str(value)


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _descend(actors: Sequence[ActorInfo]) -> Iterator[tuple[int, ActorInfo]]:
    names = {each.name for each in actors}
    children: dict[str | None, list[ActorInfo]] = {}
    for each in actors:
        children.setdefault(each.parent if each.parent in names else None, []).append(each)
    waiting = [(0, each) for each in reversed(children.get(None, []))]
    while waiting:
        depth, each = waiting.pop()
        yield depth, each
        waiting += [(depth + 1, child) for child in reversed(children.get(each.name, []))]
