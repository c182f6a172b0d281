"""Ethernet frames put together by hand, sent and heard as they are on a link."""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv6Address

from lab import Lab

EVERYBODY, ALL_NODES = "ff:ff:ff:ff:ff:ff", "33:33:00:00:00:01"
IP, ARP, VLAN, IP6, LLDP = 0x0800, 0x0806, 0x8100, 0x86DD, 0x88CC
_ETH_P_ALL = 3
_SOL_PACKET, _IGNORE_OUTGOING = 263, 23  # linux/if_packet.h


def frame(source: str, kind: int, payload: bytes, to: str = EVERYBODY) -> bytes:
    """A frame of that type; `kind` and `payload` may be those of something wrapped."""
    return _mac(to) + _mac(source) + struct.pack("!H", kind) + payload.ljust(46, b"\0")


def tagged(vlan: int, kind: int, payload: bytes) -> tuple[int, bytes]:
    """Type and payload with a VLAN's tag around them."""
    return VLAN, struct.pack("!HH", vlan, kind) + payload


def arp(operation: int, mac: str, ip: str, about: str) -> bytes:
    """A question (1) or an answer (2) of somebody who says to have that MAC and address, about another address."""
    head = struct.pack("!HHBBH", 1, IP, 6, 4, operation)
    return head + _mac(mac) + IPv4Address(ip).packed + bytes(6) + IPv4Address(about).packed


def ip4(source: str, to: str, proto: int, payload: bytes) -> bytes:
    """An IPv4 packet."""
    addresses = IPv4Address(source).packed + IPv4Address(to).packed
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 255, proto, 0) + addresses
    return head[:10] + struct.pack("!H", _checksum(head)) + head[12:] + payload


def ip6(source: str, to: str, proto: int, payload: bytes) -> bytes:
    """An IPv6 packet."""
    addresses = IPv6Address(source).packed + IPv6Address(to).packed
    return struct.pack("!IHBB", 6 << 28, len(payload), proto, 255) + addresses + payload


def udp(sport: int, dport: int, payload: bytes = b"") -> bytes:
    """A datagram without a checksum, which IPv4 allows."""
    return struct.pack("!HHHH", sport, dport, 8 + len(payload), 0) + payload


def icmp(kind: int, body: bytes = bytes(4)) -> bytes:
    """An ICMP message of IPv4."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    return message[:2] + struct.pack("!H", _checksum(message)) + message[4:]


def icmp6(source: str, to: str, kind: int, body: bytes) -> bytes:
    """An IPv6 packet with an ICMP message, its checksum right."""
    message = struct.pack("!BBH", kind, 0, 0) + body
    pseudo = IPv6Address(source).packed + IPv6Address(to).packed + struct.pack("!II", len(message), 58)
    total = struct.pack("!H", _checksum(pseudo + message))
    return ip6(source, to, 58, message[:2] + total + message[4:])


def behind_options(packet: bytes) -> bytes:
    """An IPv6 packet with a header of options (hop by hop, padding alone) before what it carries."""
    options = struct.pack("!BBBB4s", packet[6], 0, 1, 4, bytes(4))
    length = struct.pack("!H", len(packet) - 40 + len(options))
    return packet[:4] + length + b"\0" + packet[7:40] + options + packet[40:]


@contextmanager
def heard(lab: Lab, inside: str, link: str) -> Iterator[socket.socket]:
    """A socket that hears every frame that comes in there from now on, with a deadline of 5 s.

    It is kept for the next who hears there: the kernel takes long to close one.
    """

    def listen() -> tuple[tuple[str, int], socket.socket]:
        where = (f"ear at {link}", socket.if_nametoindex(link))
        made = lab.kept(inside, where)
        if made is not None:
            _drain(made)
            return where, made
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # it hears nothing until it is bound
        made.setsockopt(_SOL_PACKET, _IGNORE_OUTGOING, 1)
        made.bind((link, _ETH_P_ALL))
        return where, made

    where, made = lab.call(inside, listen)
    made.settimeout(5)
    try:
        yield made
    finally:
        lab.keep(inside, where, made)


def send(lab: Lab, inside: str, link: str, *frames: bytes) -> None:
    """Send frames from there, one after the other."""
    kept = ("mouth", 0)

    def speak() -> None:
        os.sched_setaffinity(
            0, {min(os.sched_getaffinity(0))}
        )  # this thread's: on one core none overtakes another
        made = lab.kept(inside, kept) or socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        try:
            for each in frames:
                made.sendto(each, (link, 0))
        finally:
            lab.keep(inside, kept, made)

    lab.call(inside, speak)


def _drain(listener: socket.socket) -> None:
    """Forget what came in before."""
    listener.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            listener.recv(1)


def arrives(listener: socket.socket, last: bytes) -> list[bytes]:
    """What came in until a frame with `last` in it did; raises TimeoutError where none comes."""
    found: list[bytes] = []
    deadline = time.monotonic() + 5
    while not found or last not in found[-1]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"not among {len(found)} frames")
        found.append(listener.recv(1 << 16))
    return found[:-1]


def _mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def _checksum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data + bytes(len(data) % 2)) // 2}H", data + bytes(len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
