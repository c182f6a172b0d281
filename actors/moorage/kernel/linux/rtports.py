"""What a port of a bridge has to be like, by its attributes in a dump of links (IFLA_BRPORT_*, linux/if_link.h)."""

from __future__ import annotations

import struct

from moorage.kernel.linux.rtattributes import Attributes, number
from moorage.kernel.linux.rtbatch import ALL_GROUPS

_PORT_FLAGS = {
    "mode": (4, b"\1"),
    "learning": (8, b"\0"),
    "unicast_flood": (9, b"\1"),
    "mcast_flood": (27, b"\1"),
    "bcast_flood": (30, b"\1"),
    "group_fwd_mask": (31, struct.pack("=H", ALL_GROUPS)),
    "neigh_suppress": (32, b"\0"),
    "isolated": (33, b"\0"),
    "locked": (39, b"\0"),
}
"""The IFLA_BRPORT_* that traffic needs to be so. A container reaches its own published port through the port it
came in by: `mode` is what users call hairpin. It learns no MAC there: the container's is known. What is sent to a group
of bridges would go past guard.nft to the host, as if it had come by a link of its own, were it not forwarded too."""


def unfit(port: Attributes, *, running: bool) -> dict[str, int]:
    """What is wrong of what this kernel has; one that runs is disabled only where somebody said so."""
    flags = {
        name: number(value) for name, (kind, value) in _PORT_FLAGS.items() if port.get(kind, value) != value
    }
    return flags | ({"state": 3} if running and port.get(1) == b"\0" else {})
