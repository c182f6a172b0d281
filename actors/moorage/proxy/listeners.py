"""The listening sockets of a mapping: bound when this returns, or refused with a sentence."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Callable
from typing import NamedTuple, NoReturn

from moorage import descriptors
from moorage.errors import Code, Refused
from moorage.proxy.frontend import prepare, steer
from moorage.proxy.gate import shut
from moorage.proxy.pktinfo import tell_destination
from moorage.proxy.service import EXHAUSTED, PROTOCOLS
from moorage.values import ANY

_BACKLOG = 4096
"""Clients the kernel holds until they are accepted; `net.core.somaxconn`, 4096 by default, may say fewer."""
_STEERED = 64
"""Ports of a range whose busy UDP clients may have a second socket. To prepare a listener for them takes 30 µs, twice
what opening it does."""
_UNSUPPORTED = frozenset({errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT})


class Bound(NamedTuple):
    """What a bound socket is known by."""

    family: int
    protocol: int
    address: str
    port: int
    dual: bool
    """Whether one of IPv6 takes IPv4 as well."""
    link: int = 0
    """The number of the link that a link-local address is on; 0 for all others."""


Adopt = Callable[[Bound], socket.socket | None]
"""Gives a socket that is bound so already, if there is one."""


class PortBusy(Refused):
    """Another process holds the port `port` of `proto`; its pid is for others to name."""

    def __init__(self, proto: str, host_ip: str, port: int) -> None:
        """The refusal for `proto` and `port` on `host_ip`."""
        super().__init__(
            Code.PORT_IN_USE,
            f"port {port}/{proto} on {host_ip} is held by another process; stop it or use another port",
        )
        self.proto = proto
        self.port = port


def bound(sock: socket.socket) -> Bound:
    """Say what a bound socket is known by."""
    six = sock.family == socket.AF_INET6
    dual = six and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    address, port, *more = sock.getsockname()
    return Bound(sock.family, sock.proto, address, port, dual, more[-1] if more else 0)


def adopt_none(_bound: Bound) -> None:
    """Where no socket comes from elsewhere."""


def open_listeners(
    proto: str,
    host_ip: str,
    first_port: int,
    count: int,
    *,
    dual: bool,
    link: int = 0,
    adopt: Adopt = adopt_none,
    is_shut: bool = False,
) -> list[socket.socket]:
    """Bind `count` consecutive ports from `first_port`, and listen unless `proto` is udp.

    `dual` takes every address of the host, of both families by one socket where it has IPv6; otherwise
    "0.0.0.0" and "::" take those of one family. A link-local address needs the number of its `link`. Port 0 is any
    free one. SCTP, on a kernel without it, gives an empty list. What `adopt` gives is taken as it is. With `is_shut`
    they hear the host itself alone, from the beginning on.

    Raises PortBusy, or Refused: invalid for what is no address of this host or no port, denied for a port
    that needs a privilege, unsupported for IPv6 on a host without it, limit when descriptors are exhausted.
    Then nothing stays bound.
    """
    family = _family(host_ip, dual=dual)
    if first_port + count - 1 > 65535:
        raise Refused(Code.INVALID, f"ports {first_port} to {first_port + count - 1} go beyond 65535")
    if proto == "sctp" and not _has_sctp(family):
        return []
    address = "::" if dual and family == socket.AF_INET6 else host_ip
    sockets: list[socket.socket] = []
    try:
        for port in range(first_port, first_port + count) if first_port else [0] * count:
            # not a comprehension: those opened before one that fails are to be closed
            known = Bound(family, PROTOCOLS[proto], address, port, dual and family == socket.AF_INET6, link)
            sockets.append(adopt(known) or _open(proto, known, steered=count <= _STEERED, is_shut=is_shut))
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _family(host_ip: str, *, dual: bool) -> socket.AddressFamily:
    try:
        version = ipaddress.ip_address(host_ip).version
    except ValueError:
        raise Refused(Code.INVALID, f"{host_ip!r} is not an address") from None
    if dual:
        return socket.AF_INET6 if _has_ipv6() else socket.AF_INET
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def _has_ipv6() -> bool:
    return _supported(socket.AF_INET6, socket.SOCK_DGRAM, 0)


def _has_sctp(family: socket.AddressFamily) -> bool:
    return _supported(family, socket.SOCK_STREAM, socket.IPPROTO_SCTP)


def _supported(family: socket.AddressFamily, kind: socket.SocketKind, protocol: int) -> bool:
    try:
        socket.socket(family, kind, protocol).close()
    except OSError as error:
        # what else can be wrong, a want of descriptors for one, is told when the listener itself is opened
        return error.errno not in _UNSUPPORTED
    return True


def _open(proto: str, known: Bound, *, steered: bool, is_shut: bool) -> socket.socket:
    try:
        sock = socket.socket(known.family, _kind(proto), known.protocol)
    except OSError as error:
        _refuse(error, proto, known.address, known.port)
    try:
        if sock.fileno() >= descriptors.for_ports():
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if is_shut:
            shut(sock)
        _bind(sock, proto, known, steered=steered)
    except BaseException as error:
        sock.close()
        if isinstance(error, OSError):
            _refuse(error, proto, known.address, known.port)
        raise
    return sock


def _bind(sock: socket.socket, proto: str, known: Bound, *, steered: bool) -> None:
    if known.family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not known.dual)
    if proto == "udp":
        _prepare_udp(sock, known.address)
        if steered:
            steer(sock)
        sock.bind(_name(known))
        return
    # connections of a former agent in TIME_WAIT do not stand in the way; one that listens does
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(_name(known))
    sock.listen(_BACKLOG)


def _name(known: Bound) -> tuple[str, int] | tuple[str, int, int, int]:
    return (known.address, known.port, 0, known.link) if known.link else (known.address, known.port)


def _prepare_udp(sock: socket.socket, address: str) -> None:
    """Set what the first datagram already needs: room, and that it says which of several addresses it was for.

    Never SO_REUSEADDR, with which another process could take over the port.
    """
    prepare(sock)
    tell_destination(sock, address)


def _kind(proto: str) -> socket.SocketKind:
    return socket.SOCK_DGRAM if proto == "udp" else socket.SOCK_STREAM


def _refuse(error: OSError, proto: str, address: str, port: int) -> NoReturn:
    where = f"port {port}/{proto}" + ("" if address in {ANY, "::"} else f" on {address}")
    if error.errno == errno.EADDRINUSE:
        raise PortBusy(proto, address, port) from error
    if error.errno in {errno.EACCES, errno.EPERM}:
        text = (
            f"{where} may not be bound by this user: see net.ipv4.ip_unprivileged_port_start, or run as root"
        )
        raise Refused(Code.DENIED, text) from error
    if error.errno in EXHAUSTED:
        text = f"{where} cannot be opened: {error.strerror}; raise LimitNOFILE or publish fewer ports"
        raise Refused(Code.LIMIT, text) from error
    if error.errno in {errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENODEV}:
        raise Refused(
            Code.INVALID, f"{address} is not an address of this host; name one that is, or none"
        ) from error
    if error.errno == errno.EAFNOSUPPORT:
        raise Refused(Code.UNSUPPORTED, f"{where} cannot be opened: this host has no IPv6") from error
    raise error
