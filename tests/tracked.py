"""The connections that the kernel's table has, of the network namespace in which this is called."""

from __future__ import annotations

from moorage.kernel.linux.ctnetlink import GET, Entry
from moorage.kernel.linux.nfnetlink import Netlink, generic


def entries() -> list[Entry]:
    """All of them."""
    with Netlink() as netlink:
        return [Entry.parsed(each) for each in netlink.dump(GET, generic(0))]
