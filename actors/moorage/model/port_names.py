"""Names and addresses of links that follow from other names, the same after every restart. Pure."""

from __future__ import annotations

import base64
import hashlib
import re
from ipaddress import IPv6Address

from moorage.model.link_names import LONGEST

_PORT = re.compile(r"mg[a-z2-7]{13}", re.ASCII)


def port_name(interface_id: str) -> str:
    """The name of the host's end of an interface's veth pair: `mg` and 65 bits of a hash."""
    digest = hashlib.blake2b(interface_id.encode(), digest_size=10).digest()
    return "mg" + base64.b32encode(digest).decode().lower()[: LONGEST - 2]


def is_port_name(name: str) -> bool:
    """Whether some container's port may be called so: no other link of ours is."""
    return _PORT.fullmatch(name) is not None


def link_local(mac: str) -> str:
    """The link-local address that a link with this MAC has (RFC 4291, appendix A)."""
    parts = bytes.fromhex(mac.replace(":", ""))
    host = bytes([parts[0] ^ 2]) + parts[1:3] + b"\xff\xfe" + parts[3:]
    return str(IPv6Address(b"\xfe\x80" + bytes(6) + host))
