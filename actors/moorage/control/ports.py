"""Port specs of a request against the mappings of an interface."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from moorage.control.journal import Foresee
from moorage.errors import Code, Refused
from moorage.model.caller import Caller
from moorage.model.elements import mapping_elements
from moorage.model.port_spec import PortSpec, format_ports, overlapping, parse_port_spec
from moorage.model.port_table import HostPorts, ips_collide
from moorage.model.shares import PORTS
from moorage.supervision.directory import Address
from moorage.values import ANY, GATEWAY, PROXY_V2, TRANSPARENT, Mapping, Network

AT_ONCE = 64
"""Specs that are parsed before others are answered again: a millisecond."""


async def parse_all(specs: Iterable[str], source: str = GATEWAY) -> list[PortSpec]:
    """Parse the specs of one request, on the loop, a few at a time.

    Raises Refused: invalid for a bad one, for two that collide, and for a protocol that `source` is not for,
    unsupported for a `source` that this version has not.
    """
    parsed: list[PortSpec] = []
    for spec in specs:
        parsed.append(parse_port_spec(spec))
        if len(parsed) % AT_ONCE == 0:
            await asyncio.sleep(0)
    _check_source(parsed, source)
    if (pair := overlapping(parsed)) is not None:
        raise Refused(Code.INVALID, f"{pair[0]} and {pair[1]} of one request ask for the same host port")
    return parsed


def check_amount(specs: Iterable[PortSpec], caller: Caller | None) -> None:
    """Raise Refused (limit) for more ports than all that `caller` may have, before any of them is taken."""
    number = sum(spec.count for spec in specs)
    if caller is not None and number > PORTS:
        raise Refused(
            Code.LIMIT,
            f"{number} ports are asked for at once, and uid {caller.uid} may have {PORTS} in all: ask for fewer, or "
            "let root do it",
        )


async def foresee(
    journal: Address, interface_id: str, specs: Collection[PortSpec], caller: Caller | None
) -> None:
    """Raise Refused for what would be refused to this client in the end, before ports are taken that others want."""
    if caller is not None and specs:
        runs = tuple((spec.host_port, spec.count) for spec in specs)
        await journal.ask(Foresee(interface_id, caller.uid, runs))


def _check_source(specs: Iterable[PortSpec], source: str) -> None:
    if source == TRANSPARENT:
        raise Refused(
            Code.UNSUPPORTED,
            "source transparent is not there: from outside, the kernel shows the client's own address without it; "
            "ask for source proxy-v2 to have it from everywhere, or for none",
        )
    for spec in specs:
        if source == PROXY_V2 and spec.proto != "tcp":
            raise Refused(
                Code.INVALID,
                f"{spec} with source {source}: the header goes before a stream of TCP; publish {spec.proto} without",
            )


def mapping_of(spec: PortSpec, host_port: int, source: str = GATEWAY) -> Mapping:
    """The mapping that a spec makes with this host port."""
    dual = spec.host_ip is None
    return Mapping(spec.proto, spec.host_ip or ANY, host_port, spec.container_port, spec.count, dual, source)


class Published:
    """Mappings, found by the specs that could have made them, an automatic host port standing for any."""

    def __init__(self, mappings: Iterable[Mapping]) -> None:
        """Begin with these, of one interface."""
        self._ports: dict[tuple[object, ...], dict[int, Mapping]] = {}
        for each in mappings:
            asked = (each.proto, None if each.dual else each.host_ip, each.container_port, each.count)
            self._ports.setdefault(asked, {})[each.host_port] = each

    def named(self, spec: PortSpec) -> list[Mapping]:
        """Those that the spec could have made, with whatever source."""
        ports = self._alike(spec)
        if not spec.host_port:
            return list(ports.values())
        return [ports[spec.host_port]] if spec.host_port in ports else []

    def take(self, spec: PortSpec) -> bool:
        """Take out one that the spec could have made; False when there is none."""
        ports = self._alike(spec)
        return ports.pop(spec.host_port or next(iter(ports), 0), None) is not None

    def _alike(self, spec: PortSpec) -> dict[int, Mapping]:
        """By host port, those that are as asked but for it."""
        return self._ports.get((spec.proto, spec.host_ip, spec.container_port, spec.count), {})


def check_sources(specs: Iterable[PortSpec], mappings: Iterable[Mapping], source: str, owner: str) -> None:
    """Raise Refused (exists) for a fixed spec that is published already, with another source."""
    others = Published(mapping for mapping in mappings if mapping.source != source)
    for spec in specs:
        if spec.host_port and (found := others.named(spec)):
            raise Refused(
                Code.EXISTS,
                f"{owner} publishes {spec} with source {found[0].source} already: unpublish it first to "
                f"publish it with source {source}",
                [owner],
            )


def check_carried(specs: Iterable[PortSpec], source: str, network: Network, loopback: str) -> None:
    """Raise Refused (unsupported) for a spec that the rules of the kernel lead nowhere: a proxy would have to."""
    for spec in specs:
        mapping = mapping_of(replace(spec, count=1), spec.host_port or 1, source)
        left_to_proxy = loopback == "proxy" and mapping.host_ip.startswith("127.")
        if left_to_proxy or not mapping_elements(mapping, network.gateway, network.gateway6):
            with_source = f" with source {source}" if mapping.proxied else ""
            raise Refused(
                Code.UNSUPPORTED,
                f"{spec}{with_source} needs a proxy, and the network {network.name} has none (proxy is never): "
                "publish it otherwise, or on a network that has",
            )


def missing(specs: Iterable[PortSpec], mappings: Iterable[Mapping], source: str = GATEWAY) -> list[PortSpec]:
    """The specs that none of the mappings fulfils, each mapping fulfilling one at most; fixed ones choose first."""
    free = Published(mapping for mapping in mappings if mapping.source == source)
    return [spec for spec in sorted(specs, key=lambda each: each.host_port == 0) if not free.take(spec)]


def wanted(specs: Sequence[PortSpec], mappings: Iterable[Mapping], source: str) -> list[PortSpec]:
    """The specs that ask for more than the mappings: automatic ones do, and fixed ones that none fulfils."""
    left = set(missing([spec for spec in specs if spec.host_port], mappings, source))
    return [spec for spec in specs if not spec.host_port or spec in left]


def unpublished(specs: Iterable[PortSpec], mappings: Collection[Mapping], owner: str) -> set[Mapping]:
    """The mappings that the specs name. Raises Refused (not_found) for a spec that names none."""
    published = Published(mappings)
    gone: set[Mapping] = set()
    for spec in specs:
        named = published.named(spec)
        if not named:
            why = f"{owner} has no mapping {spec}{_near(spec, mappings)}: nothing was unpublished"
            raise Refused(Code.NOT_FOUND, why)
        gone.update(named)
    return gone


def _near(spec: PortSpec, mappings: Iterable[Mapping]) -> str:
    """What somebody may have meant who named a host port of a mapping, but not the mapping."""
    found = next((each for each in mappings if spec.host_port and _share(spec, each)), None)
    return f" but {format_ports([found])}, which goes as a whole" if found else ""


def _share(spec: PortSpec, mapping: Mapping) -> bool:
    ip = "" if mapping.dual else mapping.host_ip
    held = HostPorts(ip, mapping.host_port, mapping.count)
    asked = spec.host_ports
    colliding = spec.proto == mapping.proto and ips_collide(ip, asked.key_ip)
    return colliding and bool(held.bits & asked.bits)
