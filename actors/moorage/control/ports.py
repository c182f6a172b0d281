"""Port specs of a request against the mappings of an interface."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moorage.errors import Code, Refused
from moorage.model.port_spec import PortSpec, overlapping, parse_port_spec
from moorage.values import ANY, Mapping


def parse_all(specs: Iterable[str]) -> list[PortSpec]:
    """Parse the specs of one request. Raises Refused (invalid) for a bad one, and for two that collide."""
    parsed = [parse_port_spec(spec) for spec in specs]
    if (pair := overlapping(parsed)) is not None:
        raise Refused(Code.INVALID, f"{pair[0]} and {pair[1]} of one request ask for the same host port")
    return parsed


def mapping_of(spec: PortSpec, host_port: int) -> Mapping:
    """The mapping that a spec makes with this host port."""
    dual = spec.host_ip is None
    return Mapping(spec.proto, spec.host_ip or ANY, host_port, spec.container_port, spec.count, dual)


def names(spec: PortSpec, mapping: Mapping) -> bool:
    """Whether the spec could have made the mapping, an automatic host port standing for any."""
    return mapping == mapping_of(spec, spec.host_port or mapping.host_port)


def missing(specs: Sequence[PortSpec], mappings: Sequence[Mapping]) -> list[PortSpec]:
    """The specs that none of the mappings fulfils, each mapping fulfilling one at most; fixed ones choose first."""
    free = list(mappings)
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
