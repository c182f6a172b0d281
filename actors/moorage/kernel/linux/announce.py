"""Announcements that an address has a MAC, for neighbours that knew it under another.

Sent on the container's behalf out of the bridge: a port that just went up does not forward yet, and what the
container itself says then is lost. A neighbour not told goes on with the old MAC for 30 s and more.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address

_EVERYBODY = b"\xff" * 6
_ALL_NODES = bytes.fromhex("333300000001")  # the MAC of ff02::1, RFC 2464
_ICMPV6, _ADVERTISEMENT, _OVERRIDE = 58, 136, 0x20000000  # RFC 4861, 4.4
_MAC_OPTION = b"\x02\x01"


class Announcer:
    """Announces from one packet socket, which stays open: closing one waits for the whole kernel, 12 ms.

    Without CAP_NET_RAW nobody is told.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def announce(self, bridge: str, mac: str, *addresses: str) -> None:
        """Tell all on the bridge that these addresses are at `mac`."""
        hardware = bytes.fromhex(mac.replace(":", ""))
        with suppress(OSError):
            if self._socket is None:
                self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)
            for address in map(ip_address, addresses):
                frame = (
                    arp(hardware, address)
                    if isinstance(address, IPv4Address)
                    else advertisement(hardware, address)
                )
                self._socket.sendto(frame, (bridge, 0))

    def close(self) -> None:
        """Give back the socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def arp(mac: bytes, address: IPv4Address) -> bytes:
    """An Ethernet frame with an ARP announcement (RFC 5227, 2.3): a request for one's own address."""
    header = _EVERYBODY + mac + b"\x08\x06" + struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return header + mac + address.packed + bytes(6) + address.packed


def advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """An Ethernet frame with an unsolicited neighbour advertisement (RFC 4861, 7.2.6) that overrides."""
    body = struct.pack("!BBHI", _ADVERTISEMENT, 0, 0, _OVERRIDE) + address.packed + _MAC_OPTION + mac
    ends = address.packed + IPv6Address("ff02::1").packed
    checksum = _checksum(ends + struct.pack("!II", len(body), _ICMPV6) + body)
    body = body[:2] + struct.pack("!H", checksum) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), _ICMPV6, 255)
    return _ALL_NODES + mac + b"\x86\xdd" + header + ends + body


def _checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071, over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF
