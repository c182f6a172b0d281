"""A kernel in a dict: for machines and tests where nothing may be changed.

No bridge, link or rule is made and no privilege is needed. What only reads the host is real: who holds a
port, which ports are reserved, whether there is IPv6.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import NoReturn

from moorage.errors import Code, Refused
from moorage.kernel.comparison import Key, differences
from moorage.kernel.linux import holder, reserved
from moorage.kernel.protocol import (
    NOBODY,
    Bridge,
    Element,
    Flow,
    Forwarded,
    Kept,
    Made,
    Maker,
    Namespace,
    Occupied,
    Reconciled,
    Survey,
    WayOut,
)
from moorage.model.caller import Caller
from moorage.model.forwarding import SWITCHES, former_sysctls
from moorage.model.overdrawn import Overdrawn
from moorage.model.share import FLOWS
from moorage.values import Interface, Network

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_IPV6 = Path("/proc/net/if_inet6")


class _Unshared:
    """Each agent with a kernel in a dict has one of its own."""

    def release(self) -> None:
        """See `Claim.release`."""


class MemoryKernel:
    """`moorage.kernel.protocol.Kernel` that keeps what it is told.

    One object outlives the agents that use it, as a real kernel does. For tests: `elements` and `bridges` are
    what it holds, `flushed` the flows that were ended, `reclaimed` those whose former clients were to be led,
    `cleared` the ports that masquerading was told to leave, `ended` addresses of which all were, `crowded` what will be
    done when former connections have ended, `overdrawn` who has a share of connections,
    `warnings` what its FORWARD chains are said to drop, `sysctls` may have the switches of forwarding, which a
    network turns on; `disturb` does what `nft flush ruleset` would.
    """

    real = False

    def __init__(
        self, *, ipv6: bool | None = None, boot_id: str | None = None, occupied: Sequence[Occupied] = ()
    ) -> None:
        """Take `ipv6` and `boot_id` from the host unless given; subnets may not overlap `occupied`."""
        self._lock = threading.Lock()
        self._boot_id = boot_id
        self._wakers: list[Callable[[], None]] = []
        self.ipv6 = _IPV6.exists() if ipv6 is None else ipv6
        self.occupied = list(occupied)
        self.ways_out: list[WayOut] = []
        self.bridges: dict[str, Network] = {}
        self.makers: dict[str, Maker] = {}
        self.table: dict[Key, Element] = {}
        self.installed = False
        self.generation = 0
        self.reserved: frozenset[int] = frozenset()
        self.forwarding: frozenset[Forwarded] = frozenset()
        self.answering: frozenset[tuple[str, str]] = frozenset()
        self.flushed: list[Flow] = []
        self.reclaimed: list[Flow] = []
        self.crowded: Future[None] | None = None
        self.cleared: list[tuple[str, int]] = []
        self.ended: list[str] = []
        self.overdrawn = Overdrawn()
        self.warnings: list[str] = []
        self.sysctls: dict[str, str] = {}
        self.mtu_out: int | None = None
        self.hindrances: list[str] = []

    @property
    def elements(self) -> frozenset[Element]:
        """The elements of the table."""
        with self._lock:
            return frozenset(self.table.values())

    def claim(self) -> _Unshared:
        """See `Kernel.claim`."""
        return _Unshared()

    def open_links(
        self,
        former: MutableMapping[str, str],
        *,
        loopback: str,  # noqa: ARG002 - no route_localnet
        maker: Maker = NOBODY,
        others: Collection[str] = (),  # noqa: ARG002 - nothing of theirs is ever removed
    ) -> MemoryLinks:
        """See `Kernel.open_links`."""
        return MemoryLinks(self, former, maker)

    def open_firewall(
        self,
        *,
        loopback: str,  # noqa: ARG002 - as above
        maker: Maker = NOBODY,  # noqa: ARG002
        flows: int = FLOWS,  # noqa: ARG002 - a dict has no connections
    ) -> MemoryFirewall:
        """See `Kernel.open_firewall`."""
        return MemoryFirewall(self)

    def reserved_ports(self) -> frozenset[int]:
        """See `Kernel.reserved_ports`: the host's, and those written here."""
        return reserved.read() | self.reserved

    def outgoing(self) -> tuple[range, int]:
        """See `Kernel.outgoing`."""
        ports = reserved.ephemeral()
        return ports, len(self.reserved_ports().intersection(ports))

    def holder(self, proto: str, port: int) -> str | None:
        """See `Kernel.holder`."""
        return holder.holder(proto, port)

    def bound(self, proto: str) -> frozenset[int]:
        """See `Kernel.bound`."""
        return holder.bound(proto)

    def search_namespace(self, path: str, caller: Caller | None) -> Namespace:  # noqa: ARG002 - the Protocol's
        """Raise Refused (unsupported): there are none here."""
        _unsupported(path)

    def made(self) -> list[Made]:
        """See `Kernel.made`: bridges alone, as nobody's interface is held."""
        return [
            Made(name, network.name, self.makers.get(name, NOBODY)) for name, network in self.bridges.items()
        ]

    def survey(self, default_bridge: str, makers: Collection[str]) -> Survey:  # noqa: ARG002 - networks are held with their names
        """See `Kernel.survey`: networks alone, as nobody's interface is held."""
        networks = [self.bridges[each.what] for each in self.made() if each.maker.id in makers]
        return Survey(networks, (), former_sysctls(self.elements))

    def identify(self, interfaces: Collection[Interface]) -> Mapping[str, int]:  # noqa: ARG002 - none is attached
        """See `Kernel.identify`."""
        return {}

    def boot_id(self) -> str:
        """See `Kernel.boot_id`."""
        return self._boot_id or _BOOT_ID.read_text("ascii").strip()

    def disturb(self) -> None:
        """Lose the table and all bridges, as if somebody had removed them, and wake whoever watches."""
        with self._lock:
            self.table.clear()
            self.bridges.clear()
            self.installed = False
            self.generation += 1
            wakers = list(self._wakers)
        for wake in wakers:
            wake()

    def replace(self, elements: Collection[Element]) -> list[str]:
        """Hold exactly `elements`; a sentence for each difference."""
        wanted = {(element.container, element.key): element for element in elements}
        with self._lock:
            wrong = differences(self.table, wanted) if self.installed else ["table inet moorage was missing"]
            self.table, self.installed = wanted, True
        return wrong

    def alter(self, add: Collection[Element], remove: Collection[Element]) -> None:
        """Remove, then add."""
        with self._lock:
            for element in remove:
                self.table.pop((element.container, element.key), None)
            self.table.update({(element.container, element.key): element for element in add})

    def subscribe(self, wake: Callable[[], None]) -> None:
        """Have `disturb` call `wake`."""
        with self._lock:
            self._wakers.append(wake)

    def unsubscribe(self, wake: Callable[[], None]) -> None:
        """Undo one `subscribe`."""
        with self._lock:
            self._wakers.remove(wake)


class _Watching:
    """What both halves do about `watch` and `close`."""

    def __init__(self, kernel: MemoryKernel) -> None:
        """Look at `kernel`, which outlives this."""
        self._kernel = kernel
        self._wakers: list[Callable[[], None]] = []

    def watch(self, wake: Callable[[], None], *_never: Callable[..., None]) -> None:
        """Call `wake` at each `MemoryKernel.disturb`, until `close`: no address moves here, and no thread dies."""
        self._kernel.subscribe(wake)
        self._wakers.append(wake)

    def close(self) -> None:
        """Stop watching; what was made stays."""
        while self._wakers:
            self._kernel.unsubscribe(self._wakers.pop())


class MemoryLinks(_Watching):
    """`moorage.kernel.protocol.Links` in a dict; without network namespaces, so nothing can be attached."""

    def __init__(self, kernel: MemoryKernel, former: MutableMapping[str, str], maker: Maker) -> None:
        """Look at `kernel`, which outlives this, and tell `former` of sysctls before they are changed.

        What is made is marked as `maker`'s.
        """
        super().__init__(kernel)
        self._former = former
        self._maker = maker

    def host_has_ipv6(self) -> bool:
        """See `Links.host_has_ipv6`."""
        return self._kernel.ipv6

    def occupied(self) -> list[Occupied]:
        """See `Links.occupied`."""
        return list(self._kernel.occupied)

    def mtu_out(self, *, ipv6: bool) -> int | None:  # noqa: ARG002 - one link for both
        """See `Links.mtu_out`."""
        return self._kernel.mtu_out

    def ways_out(self) -> list[WayOut]:
        """See `Links.ways_out`."""
        return list(self._kernel.ways_out)

    def find_bridge(self, name: str) -> Bridge | None:
        """See `Links.find_bridge`."""
        network = self._kernel.bridges.get(name)
        if network is None:
            return None
        addresses = [f"{network.gateway}/{network.subnet.partition('/')[2]}"]
        return Bridge(addresses, network.mtu, name in self._kernel.makers)

    def ensure_network(self, network: Network) -> list[str]:
        """See `Links.ensure_network`."""
        self._forward(["ipv4", "ipv6"] if network.subnet6 else ["ipv4"])
        before = self._kernel.bridges.get(network.bridge)
        self._kernel.bridges[network.bridge] = network
        if not network.adopted:
            self._kernel.makers[network.bridge] = self._maker
        if before == network:
            return []
        return [f"bridge {network.bridge} {'was missing' if before is None else 'was of another network'}"]

    def remove_network(self, network: Network) -> None:
        """See `Links.remove_network`."""
        self._kernel.bridges.pop(network.bridge, None)

    def find_namespace(self, netns: str, caller: Caller | None = None) -> Namespace | None:  # noqa: ARG002 - the Protocol's
        """Raise Refused (unsupported): there are none here."""
        _unsupported(netns)

    def attach(self, interface: Interface, network: Network) -> None:  # noqa: ARG002 - the Protocol's
        """Raise Refused (unsupported): there is nothing to attach to."""
        _unsupported(interface.netns)

    def detach(self, interface_id: str) -> None:
        """See `Links.detach`: nothing is ever attached."""

    def gone(self, interfaces: Collection[Interface]) -> list[str]:  # noqa: ARG002 - the Protocol's
        """See `Links.gone`: nothing is ever attached."""
        return []

    def reconcile(self, networks: Collection[Network], interfaces: Collection[Interface]) -> Reconciled:  # noqa: ARG002
        """See `Links.reconcile`."""
        repaired = [line for network in networks for line in self.ensure_network(network)]
        return Reconciled(repaired, (), warnings=tuple(self._kernel.hindrances))

    def changed_unheard(self) -> bool:
        """See `Links.changed_unheard`: `MemoryKernel.disturb` tells of everything."""
        return False

    def restore(self, sysctls: Mapping[str, str]) -> None:
        """See `Links.restore`."""
        self._kernel.sysctls.update(sysctls)

    def _forward(self, families: Collection[str]) -> None:
        for switch in map(SWITCHES.__getitem__, families):
            if (value := self._kernel.sysctls.get(switch, "1")) != "1":
                self._former.setdefault(switch, value)
                self._kernel.sysctls[switch] = "1"


class MemoryFirewall(_Watching):
    """`moorage.kernel.protocol.Firewall` in a dict."""

    def __init__(self, kernel: MemoryKernel) -> None:
        """Look at `kernel`, which outlives this."""
        super().__init__(kernel)
        self._generation = kernel.generation

    def install(self, elements: Collection[Element]) -> list[str]:
        """See `Firewall.install`."""
        self._generation = self._kernel.generation
        return self._kernel.replace(elements)

    def change(self, add: Collection[Element], remove: Collection[Element]) -> None:
        """See `Firewall.change`."""
        self._kernel.alter(add, remove)

    def changed(self) -> bool:
        """See `Firewall.changed`: whether `MemoryKernel.disturb` was called."""
        before, self._generation = self._generation, self._kernel.generation
        return before != self._generation

    def flush_flows(self, flows: Collection[Flow]) -> bool:
        """See `Firewall.flush_flows`; remembered in `MemoryKernel.flushed`."""
        self._kernel.flushed.extend(flows)
        return self._kernel.crowded is not None

    def end_begun(self, flows: Collection[Flow]) -> bool:
        """See `Firewall.end_begun`; a dict tracks no connections."""
        return bool(flows) and self._kernel.crowded is not None

    def reclaim(
        self,
        flows: Collection[Flow],
        forget: Callable[[], object] | None = None,  # noqa: ARG002 - a dict tracks no connections
        *,
        wait: bool = True,
    ) -> Future[None] | None:
        """See `Firewall.reclaim`; remembered in `MemoryKernel.reclaimed` where somebody waits."""
        if wait:
            self._kernel.reclaimed.extend(flows)
        return self._kernel.crowded

    def end_flows(self, gone: Collection[str], come: Collection[str]) -> None:
        """See `Firewall.end_flows`; remembered in `MemoryKernel.ended`."""
        self._kernel.ended.extend((*gone, *come))

    def masquerade(self, published: Collection[int], ours: frozenset[int], automatic: range) -> None:
        """See `Firewall.masquerade`; a dict masquerades nothing."""

    def set_aside(self) -> frozenset[int]:
        """See `Firewall.set_aside`: nothing."""
        return frozenset()

    def keep_clear(self, add: Collection[tuple[str, int]], remove: Collection[int]) -> None:  # noqa: ARG002 - nothing is masqueraded
        """See `Firewall.keep_clear`; remembered in `MemoryKernel.cleared`."""
        self._kernel.cleared.extend(sorted(add))

    def follow(self) -> None:
        """See `Firewall.follow`; a dict tracks no connections."""

    def overdrawn(self) -> Overdrawn:
        """See `Firewall.overdrawn`: what `MemoryKernel.overdrawn` says."""
        return self._kernel.overdrawn

    def end_strays(self, mapped: Collection[Flow], subnets: Collection[str]) -> None:
        """See `Firewall.end_strays`; a dict tracks no connections."""

    def keep_forwarding(self, bridges: Collection[Forwarded]) -> Kept:
        """See `Firewall.keep_forwarding`."""
        self._kernel.forwarding = frozenset(bridges)
        return Kept(tuple(self._kernel.warnings))

    def keep_answers(
        self,
        networks: Collection[tuple[str, str]],
        remember: Callable[[str, str], None],  # noqa: ARG002 - no sysctl
        *,
        repair: bool,  # noqa: ARG002 - nothing is changed by others
    ) -> Kept:
        """See `Firewall.keep_answers`; nothing is routed here."""
        self._kernel.answering = frozenset(networks)
        return Kept()

    def read_reserved(self) -> frozenset[int]:
        """See `Firewall.read_reserved`."""
        return self._kernel.reserved_ports()

    def write_reserved(self, add: Collection[int], remove: Collection[int]) -> None:
        """See `Firewall.write_reserved`; the host's own are only read."""
        self._kernel.reserved = (self._kernel.reserved - set(remove)) | set(add)

    def ephemeral(self) -> range:
        """See `Firewall.ephemeral`."""
        return reserved.ephemeral()

    def remove(self) -> None:
        """See `Firewall.remove`."""
        self._kernel.replace(())
        self._kernel.installed = False
        self._kernel.forwarding = frozenset()
        self._kernel.answering = frozenset()


def _unsupported(netns: str | None) -> NoReturn:
    text = f'the kernel is "memory" and has no network namespaces: {netns} needs one with kernel = "linux"'
    raise Refused(Code.UNSUPPORTED, text)
