"""Packets that no socket would send, put together by hand."""

from __future__ import annotations

import os
import socket
import struct
from typing import NamedTuple

from lab import Lab

TCP, UDP, SCTP, ICMP, ICMP6 = 6, 17, 132, 1, 58
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10
REPAIR, _REPAIR_QUEUE, _QUEUE_SEQ, _OFF_NO_PROBE = 19, 20, 21, -1  # linux/tcp.h
_HEADER_INCLUDED6 = 36  # IPV6_HDRINCL

PADDING = struct.pack("!BBB4s", 0, 1, 4, bytes(4))
"""Options of IPv6 that say nothing, without the byte that says what follows."""

SIGNATURE = bytes([19, 18, *bytes(16), 1, 1])
"""An option of TCP (RFC 2385): a host drops a segment with one without a word, unless its program asked for it."""


class Ends(NamedTuple):
    """Where a packet comes from and where it goes."""

    source: str
    sport: int
    target: str
    dport: int

    @property
    def family(self) -> socket.AddressFamily:
        return socket.AF_INET6 if ":" in self.target else socket.AF_INET

    @classmethod
    def of(cls, connected: socket.socket) -> Ends:
        """Those of a connected socket, seen from its side."""
        return cls(*connected.getsockname()[:2], *connected.getpeername()[:2])

    def reverse(self) -> Ends:
        """The way back."""
        return Ends(self.target, self.dport, self.source, self.sport)


def send(lab: Lab, name: str, *packets: bytes) -> None:
    """Send whole IP packets of one family from that namespace, wherever their routes lead, one after the other."""
    family = socket.AF_INET if packets[0][0] >> 4 == 4 else socket.AF_INET6

    def speak() -> None:
        os.sched_setaffinity(
            0, {min(os.sched_getaffinity(0))}
        )  # this thread's: on one core none overtakes another
        with socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
            if family == socket.AF_INET6:
                raw.setsockopt(socket.IPPROTO_IPV6, _HEADER_INCLUDED6, 1)
            for each in packets:
                raw.sendto(each, (target(each), 0))

    lab.call(name, speak)


def target(packet: bytes) -> str:
    """Where it goes."""
    if packet[0] >> 4 == 4:
        return socket.inet_ntop(socket.AF_INET, packet[16:20])
    return socket.inet_ntop(socket.AF_INET6, packet[24:40])


def ip(ends: Ends, proto: int, payload: bytes) -> bytes:
    """An IP packet around `payload`."""
    source, to = (socket.inet_pton(ends.family, each) for each in (ends.source, ends.target))
    if ends.family == socket.AF_INET6:
        return struct.pack("!IHBB", 6 << 28, len(payload), proto, 64) + source + to + payload
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, proto, 0) + source + to
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + payload


def tcp(
    ends: Ends, flags: int, seq: int = 0, ack: int = 0, payload: bytes = b"", *, options: bytes = b""
) -> bytes:
    """A TCP segment in an IP packet; `options` fill whole words of four bytes."""
    words = 5 + len(options) // 4
    numbers = (ends.sport, ends.dport, seq % (1 << 32), ack % (1 << 32), words << 4, flags, 65535, 0, 0)
    return ip(ends, TCP, summed(ends, TCP, struct.pack("!HHIIBBHHH", *numbers) + options + payload, 16))


def udp(ends: Ends, payload: bytes, *, padding: int = 0, spoil: int = 0) -> bytes:
    """A datagram in an IP packet that is `padding` bytes longer than it, its checksum wrong by `spoil`."""
    header = struct.pack("!HHHH", ends.sport, ends.dport, 8 + len(payload), 0)
    made = summed(ends, UDP, header + payload, 6)
    total = struct.unpack("!H", made[6:8])[0] ^ spoil
    return ip(ends, UDP, made[:6] + struct.pack("!H", total) + made[8:] + bytes(padding))


def icmp_error(outer: Ends, about: bytes, *, mtu: int | None = None) -> bytes:
    """An ICMP error of that source about a packet: port unreachable, or with `mtu` that it was too big."""
    if outer.family == socket.AF_INET6:
        kind, code, rest = (1, 4, 0) if mtu is None else (2, 0, mtu)
        return ip(outer, ICMP6, summed(outer, ICMP6, struct.pack("!BBHI", kind, code, 0, rest) + about, 2))
    code, rest = (3, 0) if mtu is None else (4, mtu)
    message = struct.pack("!BBHI", 3, code, 0, rest) + about[:28]
    return ip(outer, ICMP, message[:2] + struct.pack("!H", checksum(message)) + message[4:])


def sctp(ends: Ends, chunk: bytes, *, spoil: int = 0) -> bytes:
    """An SCTP packet with one chunk, in an IP packet, its checksum wrong by `spoil`."""
    header = struct.pack("!HHI", ends.sport, ends.dport, 0)
    sum_ = crc32c(header + bytes(4) + chunk) ^ spoil
    return ip(ends, SCTP, header + struct.pack("<I", sum_) + chunk)


def behind(packet: bytes, kind: int, header: bytes) -> bytes:
    """An IPv6 packet with an extension header of that kind ahead; `header` lacks its first byte, what follows it."""
    rest = packet[6:7] + header + packet[40:]
    return packet[:4] + struct.pack("!HB", len(rest), kind) + packet[7:40] + rest


def summed(ends: Ends, proto: int, message: bytes, at: int) -> bytes:
    """`message` with its checksum, over the pseudo header too, written at `at`."""
    source, to = (socket.inet_pton(ends.family, each) for each in (ends.source, ends.target))
    sum_ = checksum(source + to + struct.pack("!II", len(message), proto) + message)
    return message[:at] + struct.pack("!H", sum_ or 0xFFFF) + message[at + 2 :]


def checksum(data: bytes) -> int:
    """The Internet checksum."""
    data += bytes(len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def crc32c(data: bytes) -> int:
    """The checksum of SCTP."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def sequence(connected: socket.socket) -> tuple[int, int]:
    """The numbers of the next byte that a TCP socket will send and that it waits for."""
    connected.setsockopt(socket.IPPROTO_TCP, REPAIR, 1)
    try:
        numbers = []
        for queue in (2, 1):
            connected.setsockopt(socket.IPPROTO_TCP, _REPAIR_QUEUE, queue)
            numbers.append(connected.getsockopt(socket.IPPROTO_TCP, _QUEUE_SEQ))
    finally:
        connected.setsockopt(socket.IPPROTO_TCP, REPAIR, _OFF_NO_PROBE)
    return numbers[0] % (1 << 32), numbers[1] % (1 << 32)
