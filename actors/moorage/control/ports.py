"""Port specs of a request against the mappings of an interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from moorage.errors import Code, Refused
from moorage.model.elements import mapping_elements
from moorage.model.port_spec import PortSpec, overlapping, parse_port_spec
from moorage.values import ANY, GATEWAY, PROXY_V2, TRANSPARENT, Mapping, Network


def parse_all(specs: Iterable[str], source: str = GATEWAY) -> list[PortSpec]:
    """Parse the specs of one request.

    Raises Refused: invalid for a bad one, for two that collide, and for a protocol that `source` is not for,
    unsupported for a `source` that this version has not.
    """
    parsed = [parse_port_spec(spec) for spec in specs]
    _check_source(parsed, source)
    if (pair := overlapping(parsed)) is not None:
        raise Refused(Code.INVALID, f"{pair[0]} and {pair[1]} of one request ask for the same host port")
    return parsed


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


def names(spec: PortSpec, mapping: Mapping) -> bool:
    """Whether the spec could have made the mapping, with whatever source, an automatic host port standing for any."""
    return mapping == mapping_of(spec, spec.host_port or mapping.host_port, mapping.source)


def check_sources(specs: Iterable[PortSpec], mappings: Sequence[Mapping], source: str, owner: str) -> None:
    """Raise Refused (exists) for a fixed spec that is published already, with another source."""
    for spec in specs:
        for mapping in mappings:
            if spec.host_port and names(spec, mapping) and mapping.source != source:
                raise Refused(
                    Code.EXISTS,
                    f"{owner} publishes {spec} with source {mapping.source} already: unpublish it first to "
                    f"publish it with source {source}",
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


def missing(specs: Sequence[PortSpec], mappings: Sequence[Mapping], source: str = GATEWAY) -> list[PortSpec]:
    """The specs that none of the mappings fulfils, each mapping fulfilling one at most; fixed ones choose first."""
    free = [mapping for mapping in mappings if mapping.source == source]
    left = []
    for spec in sorted(specs, key=lambda each: each.host_port == 0):
        found = next((mapping for mapping in free if names(spec, mapping)), None)
        if found is None:
            left.append(spec)
        else:
            free.remove(found)
    return left


def unpublished(specs: Sequence[PortSpec], mappings: Sequence[Mapping], owner: str) -> list[Mapping]:
    """The mappings that the specs name. Raises Refused (not_found) for a spec that names none."""
    gone: list[Mapping] = []
    for spec in specs:
        named = [mapping for mapping in mappings if names(spec, mapping)]
        if not named:
            raise Refused(Code.NOT_FOUND, f"{owner} has no mapping {spec}: nothing was unpublished")
        gone.extend(mapping for mapping in named if mapping not in gone)
    return gone
