"""What can be said of interfaces without asking anybody."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from moorage.values import Interface, Mapping


def mac_of(ip: str) -> str:
    """The MAC address of the interface with this IPv4 address: locally administered, unicast.

    Made of the address, so that one that comes back brings the MAC that neighbours remember.
    """
    return ":".join(f"{byte:02x}" for byte in (0x02, 0x6D, *ip_address(ip).packed))


def prefix_of(subnet: str) -> int:
    """24 of `10.0.42.0/24`."""
    return ip_network(subnet).prefixlen


def differences(before: Interface | None, after: Interface | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events that lead from one state to the other, in order, with what they are about."""
    subject = after or before
    if subject is None:
        return
    about = {"network": subject.network}
    old, new = _ports(before), _ports(after)
    if before is None:
        yield "interface_allocated", about
    if _is_attached(before) and not _is_attached(after):
        yield "interface_detached", about
    if _is_attached(after) and not _is_attached(before):
        yield "interface_attached", about
    for mapping in without(old, new):
        yield "mapping_unpublished", {**about, "mapping": mapping}
    for mapping in without(new, old):
        yield "mapping_published", {**about, "mapping": mapping}
    if after is None:
        yield "interface_released", about


def without(some: Iterable[Mapping], others: Iterable[Mapping]) -> list[Mapping]:
    """Those of `some` that are not among `others`, in their order."""
    left_out = frozenset(others)
    return [mapping for mapping in some if mapping not in left_out]


def _ports(interface: Interface | None) -> tuple[Mapping, ...]:
    return () if interface is None else interface.ports


def _is_attached(interface: Interface | None) -> bool:
    return interface is not None and interface.netns is not None
