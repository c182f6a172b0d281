"""The values of `moorage.values` as maps of the wire, and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from functools import cache
from typing import Any, Final, TypeVar

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.values import ALONE, ALWAYS, GATEWAY, Interface, Mapping, Network, Status

T = TypeVar("T")

_INTERNAL: Final = frozenset({"dual", "adopted", "netns_cookie", "attached", "owner"})
"""Fields that never leave the agent."""
_CODES: Final = frozenset(Code)
_FAULT: Final = 0
_REFUSED: Final = 1


def mapping_to_wire(mapping: Mapping) -> dict[str, Any]:
    """Return `{proto, host_ip, host_port, container_port, count, source?}`."""
    made = _map(Mapping, mapping)
    if mapping.source == GATEWAY:
        del made["source"]
    return made


def network_to_wire(network: Network) -> dict[str, Any]:
    """Return `{name, bridge, subnet, gateway, subnet6?, gateway6?, internal, mtu, proxy?, guard?}`."""
    made = _without_nil(_map(Network, network), "subnet6", "gateway6")
    if network.proxy == ALWAYS:
        del made["proxy"]
    if network.guard == ALONE:
        del made["guard"]
    return made


def interface_to_wire(interface: Interface) -> dict[str, Any]:
    """Return the interface with its ports as maps; `netns` and `ifname` are nil while it is not attached."""
    made = interface_without_parts(interface)
    made["ports"] = [mapping_to_wire(mapping) for mapping in interface.ports]
    made["labels"] = dict(interface.labels)
    return made


def interface_without_parts(interface: Interface) -> dict[str, Any]:
    """Return the same without the keys `ports` and `labels`, of which there may be many."""
    made = _without_nil(_map(Interface, interface), "ipv6", "prefix6", "gateway6")
    del made["ports"], made["labels"]
    return made


def status_to_wire(status: Status) -> dict[str, Any]:
    """Return the agent in numbers, `warnings` an array of texts."""
    return _map(Status, status) | {"warnings": list(status.warnings)}


def status_from_wire(value: Any) -> Status:
    """Make a status of a map; an agent that knows of no warnings has none. Raises Fault for what is no status."""
    read = _known(Status, value)
    read["warnings"] = tuple(map(str, _list(read.get("warnings", ()))))
    return _make(Status, read)


def interface_from_wire(value: Any) -> Interface:
    """Make an interface of a map. Raises Fault for what is none."""
    read = _known(Interface, value)
    read["ports"] = tuple(value_from_wire(Mapping, each) for each in _list(read.get("ports", ())))
    return _make(Interface, read)


def value_from_wire(cls: type[T], value: Any) -> T:
    """Make one of the flat dataclasses of `moorage.values` of a map.

    Keys that a newer agent added are passed over. Raises Fault for what is no such map.
    """
    return _make(cls, _known(cls, value))


def values_from_wire(cls: type[T], values: Any) -> list[T]:
    """Make a list of them. Raises Fault for what is no array of such maps."""
    return [value_from_wire(cls, each) for each in _list(values)]


def interfaces_from_wire(values: Any) -> list[Interface]:
    """Make a list of interfaces. Raises Fault for what is no array of them."""
    return [interface_from_wire(each) for each in _list(values)]


def error_to_wire(error: MoorageError) -> list[Any]:
    """Return `[1, "code: text"]` for a Refused, `[0, "internal: text"]` for anything else."""
    if isinstance(error, Refused):
        return [_REFUSED, str(error)]
    return [_FAULT, f"internal: {error}"]


def error_from_wire(error: Any) -> Refused | Fault:
    """Return what the error of a response stands for; a code this version does not know is `unsupported`."""
    match error:
        case [int(kind), str(text)] if kind == _REFUSED:
            return _refused(text)
        case [int(_), str(text)]:
            return Fault(text.removeprefix("internal: "))
    return Fault(f"the answer carries an error of an unknown shape: {error!r:.200}")


def _refused(text: str) -> Refused:
    code, _, sentence = text.partition(": ")
    return Refused(code, sentence) if code in _CODES else Refused(Code.UNSUPPORTED, text)


@cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(each.name for each in fields(cls) if each.name not in _INTERNAL)


def _map(cls: type, value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in _names(cls)}


def _without_nil(made: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in made.items() if value is not None or key not in keys}


def _known(cls: type, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Fault(f"the agent's answer is no {cls.__name__}: {value!r:.200}")
    return {name: value[name] for name in _names(cls) if name in value}


def _make(cls: type[T], read: dict[str, Any]) -> T:
    try:
        return cls(**read)
    except TypeError as error:
        raise Fault(f"the agent's answer lacks a part of {cls.__name__}: {error}") from error


def _list(values: Any) -> Iterable[Any]:
    if not isinstance(values, list | tuple):
        raise Fault(f"the agent's answer is no array: {values!r:.200}")
    return values
