"""Names and addresses that follow from other names, so that they are the same after every restart."""

from __future__ import annotations

import hashlib
from ipaddress import IPv6Network

from moorage.model.port_names import link_local, port_name

__all__ = ["LINK_LOCAL", "bridge_mac", "link_local", "port_name"]

LINK_LOCAL = IPv6Network("fe80::/10")


def bridge_mac(bridge: str) -> str:
    """The MAC of a bridge of ours: locally administered, unicast, from a hash of its name."""
    digest = hashlib.blake2b(bridge.encode(), digest_size=5).digest()
    return "02:" + digest.hex(":")
