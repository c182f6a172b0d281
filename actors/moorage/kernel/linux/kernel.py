"""The kernel of this host: what opens links and a firewall, and answers questions of any thread."""

from __future__ import annotations

import platform
from collections.abc import Collection, Mapping, MutableMapping
from pathlib import Path

from moorage.errors import Fault
from moorage.kernel.linux import holder, netns, reserved
from moorage.kernel.linux.claim import LinuxClaim
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.protocol import NOBODY, Firewall, Links, Made, Maker, Namespace, Survey
from moorage.model.caller import Caller
from moorage.model.share import FLOWS
from moorage.values import Interface

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class LinuxKernel:
    """`moorage.kernel.protocol.Kernel` of the network namespace of the process."""

    real = True

    def __init__(self) -> None:
        """Look whether it can tell network namespaces apart. Raises Fault where it cannot."""
        try:
            netns.cookie()
        except OSError as error:
            raise Fault(
                f"this kernel ({platform.release()}) does not tell network namespaces apart for good (SO_NETNS_COOKIE: "
                f'{error.strerror}): Linux 5.14 or later does; or say kernel = "memory", which makes no link or rule'
            ) from error

    def claim(self) -> LinuxClaim:
        """See `Kernel.claim`."""
        return LinuxClaim()

    def open_links(
        self,
        former: MutableMapping[str, str],
        *,
        loopback: str,
        maker: Maker = NOBODY,
        others: Collection[str] = (),
    ) -> Links:
        """See `Kernel.open_links`."""
        from moorage.kernel.linux.links import LinuxLinks  # noqa: PLC0415 - pyroute2 takes 100 ms to import

        return LinuxLinks(former, loopback=loopback, maker=maker, others=others)

    def open_firewall(self, *, loopback: str, maker: Maker = NOBODY, flows: int = FLOWS) -> Firewall:
        """See `Kernel.open_firewall`."""
        return LinuxFirewall(loopback=loopback, maker=maker, flows=flows)

    def reserved_ports(self) -> frozenset[int]:
        """See `Kernel.reserved_ports`."""
        return reserved.read()

    def outgoing(self) -> tuple[range, int]:
        """See `Kernel.outgoing`."""
        ports = reserved.ephemeral()
        return ports, reserved.count(ports)

    def holder(self, proto: str, port: int) -> str | None:
        """See `Kernel.holder`."""
        return holder.holder(proto, port)

    def bound(self, proto: str) -> frozenset[int]:
        """See `Kernel.bound`."""
        return holder.bound(proto)

    def search_namespace(self, path: str, caller: Caller | None) -> Namespace:
        """See `Kernel.search_namespace`."""
        return netns.search(path, caller)

    def made(self) -> list[Made]:
        """See `Kernel.made`."""
        from moorage.kernel.linux.survey import made  # noqa: PLC0415 - imports pyroute2

        return made()

    def survey(self, default_bridge: str, makers: Collection[str]) -> Survey:
        """See `Kernel.survey`."""
        from moorage.kernel.linux.survey import survey  # noqa: PLC0415 - seldom needed, and imports pyroute2

        return survey(default_bridge, makers)

    def identify(self, interfaces: Collection[Interface]) -> Mapping[str, int]:
        """See `Kernel.identify`."""
        from moorage.kernel.linux.survey import identify  # noqa: PLC0415 - as above

        return identify(interfaces)

    def boot_id(self) -> str:
        """See `Kernel.boot_id`."""
        return _BOOT_ID.read_text("ascii").strip()
