"""Links of a Linux host: bridges, veth pairs, their addresses, routes and sysctls."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, MutableMapping

from moorage.errors import Code, Refused
from moorage.kernel.linux import bridge, marks, routes
from moorage.kernel.linux.bounds import bounded
from moorage.kernel.linux.bridge import Bridges, fitted
from moorage.kernel.linux.names import port_name
from moorage.kernel.linux.netns import find as find_namespace
from moorage.kernel.linux.reconciliation import Audit, has_vanished
from moorage.kernel.linux.repairs import Repairs
from moorage.kernel.linux.router import Router
from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.linux.rtnetlink import Rtnetlink, refusing
from moorage.kernel.linux.sysctl import Sysctls
from moorage.kernel.linux.veth import Veths
from moorage.kernel.linux.watch import Watch
from moorage.kernel.protocol import NOBODY, Bridge, Maker, Namespace, Occupied, Reconciled, WayOut
from moorage.model.caller import Caller
from moorage.model.link_names import WANTED, is_link_name
from moorage.threads import Lost
from moorage.values import Interface, Network

_SHARE = 0.05
"""Of one processor, that looks into all containers may take for long where one of them says more than can be heard."""
_FEW = 16
"""Links that are asked for one by one, 60 µs each; more are found in a dump."""


@bounded
class LinuxLinks:
    """`moorage.kernel.protocol.Links` by route netlink. Belongs to the thread that made it.

    `former` is told of a path under /proc/sys and its value before the first change to it, and keeps that.
    `clock` gives seconds that only grow, `loopback` is who carries 127.0.0.1: "kernel", "connect" or "proxy". What is
    made is marked as `maker`'s; what `others` made is taken for our own.
    """

    def __init__(
        self,
        former: MutableMapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        *,
        loopback: str = "kernel",
        maker: Maker = NOBODY,
        others: Collection[str] = (),
    ) -> None:
        repairs = Repairs(clock)
        self._clock = clock
        self._all_after = clock()
        self._netlink = Rtnetlink()
        self._sysctls = Sysctls(former, repairs)
        self._router = Router(self._netlink.reader, self._sysctls)
        self._bridges = Bridges(
            self._netlink, self._sysctls, self._router, repairs, loopback=loopback, maker=maker
        )
        self._veths = Veths(self._netlink, maker)
        self._audit = Audit(
            self._netlink.reader, self._bridges, self._veths, repairs, {maker.id, "", *others}
        )
        self._watch: Watch | None = None

    def host_has_ipv6(self) -> bool:
        """Whether the host has IPv6 at all."""
        return bridge.host_has_ipv6()

    def occupied(self) -> list[Occupied]:
        """Every route, address and nameserver of the host that a new subnet may not overlap."""
        return routes.occupied(self._netlink.reader)

    def mtu_out(self, *, ipv6: bool) -> int | None:
        """The MTU of the link by which IPv4 leaves the host, or the lesser of that and IPv6's; None for no link."""
        return routes.mtu_out(self._netlink.reader, ipv6=ipv6)

    def ways_out(self) -> list[WayOut]:
        """Every way of the host's default routes, in whatever table they are."""
        return routes.ways_out(self._netlink.reader)

    def find_bridge(self, name: str) -> Bridge | None:
        """The bridge of that name; None when no link has it.

        Raises Refused (invalid) when the link is not a bridge, or when none that we make may have that name.
        """
        if not is_link_name(name):
            raise Refused(Code.INVALID, f"{name!r} is no name for a bridge, which must be {WANTED}")
        link = self._bridges.find(name)
        if link is None:
            return None
        with refusing(f"read the addresses of {name}"):
            return Bridge(routes.addresses_of(self._netlink.reader, link), link.mtu, marks.is_ours(link))

    def ensure_network(self, network: Network) -> list[str]:
        """Make the bridge what `network` says, and return a sentence for each thing that had to be changed.

        Raises Refused: invalid for a name that is no bridge's, unsupported for IPv6 without any, denied.
        """
        return self._bridges.ensure(network)

    def remove_network(self, network: Network) -> None:
        """Remove the bridge, or from an adopted one what we added. Nothing to remove is no error."""
        self._bridges.remove(network)

    def find_namespace(self, netns: str, caller: Caller | None = None) -> Namespace | None:
        """Resolve a path as `caller` may (None: the agent), a name under `/run/netns`, or `pid:N`. Raises Refused.

        None where a file system has to be asked.
        """
        return find_namespace(netns, caller)

    def attach(self, interface: Interface, network: Network) -> None:
        """Make the veth pair of an interface whose `netns`, `netns_cookie` and `ifname` are set.

        Idempotent, all or nothing. Raises Refused: not_found for a namespace that is gone, exists for an
        ifname taken there, address_in_use for the bridge's MAC, unsupported for IPv6 switched off there, denied.
        """
        bridge = self._bridge(network)
        _check_mac(interface, bridge)
        self._veths.ensure(interface, fitted(network, bridge), bridge)

    def detach(self, interface_id: str) -> None:
        """Remove the veth pair of that interface. Nothing to remove is no error."""
        self._veths.remove(interface_id)

    def gone(self, interfaces: Collection[Interface]) -> list[str]:
        """The ids of those that are attached, and whose namespace has ended. Changes nothing."""
        attached = [each for each in interfaces if each.netns]
        reader, ports = self._netlink.reader, [port_name(each.id) for each in attached]
        with refusing("look for the links of containers"):
            if len(ports) > _FEW:
                links = {link.name for link in reader.links()}
            else:
                links = {name for name in ports if reader.link(name) is not None}
        return [each.id for each in attached if has_vanished(each, links)]

    def reconcile(self, networks: Collection[Network], interfaces: Collection[Interface]) -> Reconciled:
        """Put right links, addresses, routes and sysctls of these, and remove veths of ours that none names.

        Costs two dumps when nothing is wrong. A container is looked into when it is new to us and when it
        changed; every time while nobody watches. Where more changed than could be heard, into all, but not
        often: one of them may do that.
        """
        due = self._all_after - self._clock()
        changed = self._watch.changed(perhaps_any=due <= 0) if self._watch else None
        began = time.thread_time()
        found = self._audit.run(networks, interfaces, changed)
        if changed is None:
            self._all_after = self._clock() + (time.thread_time() - began) / _SHARE
        elif self._watch is not None and self._watch.missed_some():
            rest = due if found.rest is None else min(due, found.rest)
            found = found._replace(rest=max(rest, 0.0))
        return found

    def changed_unheard(self) -> bool:
        """Whether a sysctl is other than it was left: those send no event. 6 µs for each, up to eight to a bridge."""
        return self._sysctls.differ()

    def watch(self, wake: Callable[[], None], lost: Lost) -> None:
        """Call `wake` (from a thread of its own, often) whenever links, addresses or routes changed.

        `lost` is called with what that thread died of, should it die.
        """
        if self._watch is not None:
            self._watch.close()
        self._watch = Watch(wake, lost)

    def restore(self, sysctls: Mapping[str, str]) -> None:
        """Put back former values of sysctls, by path under `/proc/sys`."""
        self._router.restore(sysctls)

    def close(self) -> None:
        """Give back sockets and the thread; the links stay."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None
        self._veths.close()
        self._netlink.close()

    def _bridge(self, network: Network) -> Link:
        link = self._bridges.find(network.bridge)
        if link is None:
            self._bridges.ensure(network)
            link = self._bridges.find(network.bridge)
        if link is None:
            raise Refused(
                Code.UNAVAILABLE, f"the bridge {network.bridge} was removed while it was made: try again"
            )
        return link


def _check_mac(interface: Interface, bridge: Link) -> None:
    if interface.mac.lower() == bridge.mac:
        raise Refused(
            Code.ADDRESS_IN_USE,
            f"interface {interface.id} asks for {interface.mac}, which the bridge {bridge.name} has, so that neither "
            "could reach the other: ask for another MAC",
        )
