"""Port specs, `[[host_ip:][host_port]:]container_port[/proto]`, read and written."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.model.port_table import HIGHEST_PORT, HostPorts, first_collision, ips_collide
from moorage.values import ANY, Mapping

__all__ = [
    "PROTOCOLS",
    "PortSpec",
    "format_port_spec",
    "format_ports",
    "ips_collide",
    "overlapping",
    "parse_port_spec",
]

PROTOCOLS = ("tcp", "udp", "sctp")
_FORM = "[[host_ip:][host_port]:]container_port[/proto]"
_SPEC = re.compile(
    r"(?:(?:(?P<ip>\[[^\]]*\]|[^\[/]*):)?(?P<host>\[[^\]]*\]|[^:/]*):)?(?P<container>[^:/]*)(?:/(?P<proto>.*))?",
    re.DOTALL,
)
_HOST_IP_ALONE = re.compile(r"[.\[]")
_NUMBER = re.compile(r"0*([0-9]{1,5})")
_LIMITED_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class PortSpec:
    """What a spec asks for: `count` consecutive ports of a container published on the host.

    `host_ip` is None for any address of both families, "0.0.0.0" or "::" for any of one; `host_port` is 0 for
    automatic ones. Host port `host_port + i` leads to container port `container_port + i`.
    """

    proto: str
    host_ip: str | None
    host_port: int
    container_port: int
    count: int = 1

    @property
    def host_ports(self) -> HostPorts:
        """The host side, as port pools take it; its port is 0 for automatic."""
        return HostPorts(self.host_ip or "", self.host_port, self.count)

    def __str__(self) -> str:
        return format_port_spec(self)


class _Token(NamedTuple):
    """A part of a spec, and where it begins."""

    spec: str
    role: str
    text: str
    start: int

    def refuse(self, why: str) -> Refused:
        place = f"the {self.role} {_quote(self.text)} at character {self.start + 1}"
        return _refuse(self.spec, f"{place} {why}")


def parse_port_spec(spec: str) -> PortSpec:
    """Read one spec. Raises Refused (invalid), naming what is wrong and the character it begins at."""
    if not isinstance(spec, str):
        raise Refused(Code.INVALID, f"a port spec is a string such as '8080:80/tcp', not {_quote(spec)}")
    ip, host, container, proto = _split(spec)
    ports = _parse_ports(container, lowest=1)
    host_port = ports.start if host and not host.text and not ip else _parse_host_port(host, ports)
    return PortSpec(
        _parse_proto(proto) if proto else "tcp",
        _parse_host_ip(ip) if ip else None,
        host_port,
        ports.start,
        len(ports),
    )


def format_port_spec(spec: PortSpec) -> str:
    """The shortest text that `parse_port_spec` reads as `spec`."""
    container = _format_range(spec.container_port, spec.count)
    host = _format_range(spec.host_port, spec.count) if spec.host_port else ""
    ports = f"{host}:{container}" if host or spec.host_ip else container
    return f"{_format_host(spec.host_ip)}{ports}{_format_proto(spec.proto)}"


def format_ports(ports: Sequence[Mapping]) -> str:
    """The PORTS column: `49153->80, 127.0.0.1:8080->80 (proxy-v2), 8000-8009->9000-9009/udp`."""
    return ", ".join(map(_format_mapping, ports))


def overlapping(specs: Sequence[PortSpec]) -> tuple[PortSpec, PortSpec] | None:
    """Two of a list that ask for the same fixed host port, in its order, or None.

    Protocols are looked at in the order of `PROTOCOLS`, and ports from the lowest on.
    """
    for proto in PROTOCOLS:
        group = [spec for spec in specs if spec.proto == proto]
        if pair := first_collision([spec.host_ports for spec in group]):
            return group[pair[0]], group[pair[1]]
    return None


def _split(spec: str) -> tuple[_Token | None, _Token | None, _Token, _Token | None]:
    match = _SPEC.fullmatch(spec)
    if not spec or match is None:
        raise _refuse(spec, f"it is not of the form {_FORM}, an IPv6 host_ip in brackets")

    def token(group: str, role: str) -> _Token | None:
        return None if match[group] is None else _Token(spec, role, match[group], match.start(group))

    container = _Token(spec, "container port", match["container"], match.start("container"))
    return token("ip", "host ip"), token("host", "host port"), container, token("proto", "protocol")


def _parse_ports(token: _Token, lowest: int) -> range:
    if not token.text:
        raise token.refuse(f"is missing; the form is {_FORM}")
    first, dash, last = token.text.partition("-")
    low = _parse_number(token, first, 1 if dash else lowest)
    high = _parse_number(token, last, 1) if dash else low
    if high < low:
        raise token.refuse(f"runs backwards; write {high}-{low}")
    return range(low, high + 1)


def _parse_number(token: _Token, digits: str, lowest: int) -> int:
    match = _NUMBER.fullmatch(digits)
    port = int(match[1]) if match else -1
    if not lowest <= port <= HIGHEST_PORT:
        what = f"has {_quote(digits)}, which is" if digits != token.text else "is"
        raise token.refuse(f"{what} not a decimal number from {lowest} to {HIGHEST_PORT}")
    return port


def _parse_host_port(token: _Token | None, container: range) -> int:
    if token is None or not token.text:
        return 0
    if _HOST_IP_ALONE.search(token.text):
        raise token.refuse(f"is a host ip without a host port, which may be empty: write {token.text}::")
    host = _parse_ports(token, lowest=0)
    if host.start and len(host) != len(container):
        raise token.refuse(
            f"has {len(host)} and the container port {len(container)} ports; make them equally many"
        )
    return host.start


def _parse_proto(token: _Token) -> str:
    if token.text not in PROTOCOLS:
        raise token.refuse(f"is not one of {', '.join(PROTOCOLS)}")
    return token.text


def _parse_host_ip(token: _Token) -> str:
    text = token.text
    bracketed = text.startswith("[")
    try:
        ip = ipaddress.IPv6Address(text[1:-1]) if bracketed else ipaddress.IPv4Address(text)
    except ValueError:
        hint = (
            "an IPv6 address goes in brackets"
            if ":" in text
            else "leave it and its colon out for any address"
        )
        raise token.refuse(f"is not an address; {hint}") from None
    if why := _unfit(ip):
        raise token.refuse(f"is {why}")
    return str(ip)


def _unfit(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    if ip.is_multicast:
        return "a multicast address, on which nothing can be published"
    if ip == _LIMITED_BROADCAST:
        return "the broadcast address, on which nothing can be published"
    if isinstance(ip, ipaddress.IPv6Address) and ip.scope_id is not None:
        return "an address with a scope; leave out what follows the %"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        return f"{ip.ipv4_mapped} mapped into IPv6; write it as that"
    return None


def _format_mapping(mapping: Mapping) -> str:
    host = _format_host(None if mapping.host_ip == ANY else mapping.host_ip)
    frontend = _format_range(mapping.host_port, mapping.count)
    backend = _format_range(mapping.container_port, mapping.count)
    source = f" ({mapping.source})" if mapping.proxied else ""
    return f"{host}{frontend}->{backend}{_format_proto(mapping.proto)}{source}"


def _format_host(ip: str | None) -> str:
    if ip is None:
        return ""
    return f"[{ip}]:" if ":" in ip else f"{ip}:"


def _format_range(first: int, count: int) -> str:
    return f"{first}-{first + count - 1}" if count > 1 else str(first)


def _format_proto(proto: str) -> str:
    return "" if proto == "tcp" else f"/{proto}"


def _refuse(spec: str, why: str) -> Refused:
    return Refused(Code.INVALID, f"port spec {_quote(spec)}: {why}")


def _quote(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
