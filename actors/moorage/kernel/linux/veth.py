"""The veth pair of an interface: a port of the bridge on the host, a configured link in the container."""

from __future__ import annotations

import errno

from moorage.errors import Code, Refused
from moorage.kernel.linux import marks, names, netns, rtbatch
from moorage.kernel.linux.announce import Announcer
from moorage.kernel.linux.container import Container
from moorage.kernel.linux.containment import contained
from moorage.kernel.linux.inside import Inside
from moorage.kernel.linux.readiness import await_addresses, await_forwarding
from moorage.kernel.linux.remover import Remover
from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.linux.rtnetlink import Rtnetlink, refusing
from moorage.kernel.protocol import Maker, Namespace
from moorage.values import Interface, Network


def unfit_flags(port: Link, bridge: Link) -> dict[str, int]:
    """What is wrong of the port; while a bridge is down, all its ports are disabled."""
    return {name: value for name, value in port.unfit.items() if bridge.up or name != "state"}


def namespace_of(interface: Interface) -> Namespace:
    """The namespace that an attached interface is in."""
    return Namespace(interface.netns or "", interface.netns_cookie)


class Veths:
    """Makes, repairs and removes veth pairs. Every method raises Refused (denied) without the right."""

    def __init__(self, netlink: Rtnetlink, maker: Maker) -> None:
        self._maker = maker
        self._ip = netlink.ip
        self._reader = netlink.reader
        self._socket = netlink.reads
        self._announcer = Announcer()
        self._remover = Remover()
        self._macs: dict[str, str] = {}
        self._settled: dict[str, int] = {}
        self._inside = Inside()

    def close(self) -> None:
        """Give back sockets and threads; the pairs stay."""
        self._announcer.close()
        self._remover.close()

    def alias(self, interface: Interface) -> str:
        """What the host's end says of an interface."""
        return marks.port_alias(interface, self._maker)

    def ensure(self, interface: Interface, network: Network, bridge: Link) -> list[str]:
        """Make the pair what `interface` says, all or nothing; returns a sentence for each change."""
        with netns.reopened(namespace_of(interface)) as fd, contained(f"attach {interface.id}", interface):
            _check_foreign(interface)
            port = self._reader.link(names.port_name(interface.id))
            if port is not None:
                with Container(fd) as container:
                    if container.holds(interface, port):
                        return self._settle(interface, network, bridge, port, container)
                _check_ours(port, interface.id)
                self._delete(port)
            self._make(interface, network, bridge, fd)
            return [f"veth of {interface.id} was {'missing' if port is None else 'broken'}, made"]

    def _settle(
        self, interface: Interface, network: Network, bridge: Link, port: Link, container: Container
    ) -> list[str]:
        done = self._settle_port(interface, network, bridge, port) + container.settle(interface, network)
        done += self._inside.enter(interface, container)
        self._settled[interface.id] = port.ifindex
        if done:
            self._await(network, bridge, port)
        return done

    def _settle_port(self, interface: Interface, network: Network, bridge: Link, port: Link) -> list[str]:
        """Make the host's end a port of the bridge as it should be; returns a sentence for each change."""
        change: dict[str, object] = {}
        if port.master != bridge.ifindex:
            change["master"] = bridge.ifindex
        if port.mtu != network.mtu:
            change["mtu"] = network.mtu
        if port.alias != self.alias(interface):
            change["ifalias"] = self.alias(interface)
        if not port.up:
            change["state"] = "up"
        if not port.arp:
            change["arp"] = True
        if change:
            self._ip.link("set", index=port.ifindex, **change)
        flags = (
            {"mode": 1, "learning": 0, "group_fwd_mask": rtbatch.ALL_GROUPS}
            if "master" in change
            else unfit_flags(port, bridge)
        )
        if flags:
            # by its short name, `state` would be the link's
            given = {f"IFLA_BRPORT_{name.upper()}": value for name, value in flags.items()}
            self._ip.brport("set", index=port.ifindex, **given)
        if not self._reader.knows_mac(port.ifindex, interface.mac):
            rtbatch.check(*rtbatch.run(self._socket, rtbatch.know_mac(port.ifindex, interface.mac)))
            change["mac"] = interface.mac
        return [f"veth of {interface.id}: {name} set to {value}" for name, value in (change | flags).items()]

    def remove(self, interface_id: str) -> None:
        """Remove the pair of that interface; nothing to remove is no error."""
        link = self._reader.link(names.port_name(interface_id))
        settled = self._settled.pop(interface_id, 0)
        if link is not None and (link.ifindex == settled or _has_our_alias(link, interface_id)):
            with refusing(f"detach {interface_id}"):
                self._delete(link)
        self._inside.leave(interface_id)

    def _make(self, interface: Interface, network: Network, bridge: Link, fd: int) -> None:
        self._create(interface, network, bridge, fd)
        try:
            port = self._reader.link(names.port_name(interface.id))
            if port is None:
                text = (
                    f"the link of {interface.id} was removed as soon as it was made, from {interface.netns}"
                )
                raise Refused(Code.UNAVAILABLE, f"{text}: find who does that in there, and try again")
            stale = self._raise(interface, bridge, port)
            with Container(fd, fresh=interface) as container:
                if container.configure(interface, port.peer):
                    self._inside.arrive(interface, port.peer, container)
                    self._settled[interface.id] = port.ifindex
                    self._await(network, bridge, port)
                else:
                    self._settle(interface, network, bridge, port, container)
            self._announcer.announce(bridge.name, interface.mac, *stale)
        except BaseException:
            self.remove(interface.id)
            raise

    def _create(self, interface: Interface, network: Network, bridge: Link, fd: int) -> None:
        name, peer = names.port_name(interface.id), interface.ifname or ""
        pair = rtbatch.Pair(name, peer, interface.mac, network.mtu, fd)
        (outcome,) = rtbatch.run(self._socket, rtbatch.new_pair(pair, bridge.ifindex))
        if outcome == errno.EEXIST:
            raise Refused(
                Code.EXISTS,
                f"{interface.netns} already has a link called {interface.ifname}: attach {interface.id} "
                "with another ifname",
            )
        rtbatch.check(outcome)

    def _raise(self, interface: Interface, bridge: Link, port: Link) -> list[str]:
        """Set up a port just made, and have the host forget whom it knew by the container's addresses.

        Gives the addresses that somebody may know under another MAC. Telling all at every attach is dear: a
        frame to 500 containers takes 6 ms.
        """
        addresses = [address for address in (interface.ip, interface.ipv6) if address]
        _, known, raised, *forgotten = rtbatch.run(
            self._socket,
            rtbatch.without_link_local(port.ifindex),
            rtbatch.know_mac(port.ifindex, interface.mac),
            rtbatch.raise_port(port.ifindex, self.alias(interface)),
            *(rtbatch.forget_neighbour(bridge.ifindex, address) for address in addresses),
        )
        rtbatch.check(known)
        rtbatch.check(raised)
        for outcome in forgotten:
            rtbatch.check(outcome, errno.ENOENT)
        return self._stale(interface.mac, dict(zip(addresses, forgotten, strict=True)))

    def _stale(self, mac: str, forgotten: dict[str, int]) -> list[str]:
        stale = [
            address
            for address, outcome in forgotten.items()
            if not outcome or self._macs.get(address, mac) != mac
        ]
        self._macs |= dict.fromkeys(forgotten, mac)
        return stale

    def _await(self, network: Network, bridge: Link, port: Link) -> None:
        await_forwarding(self._reader, port.name, bridge.name)
        if network.subnet6:
            await_addresses(self._reader, bridge.ifindex)

    def _delete(self, port: Link) -> None:
        self._remover.remove(port.ifindex)


def _has_our_alias(port: Link, interface_id: str) -> bool:
    """Without an alias it is ours from a moment before we died."""
    return not port.alias or marks.owner(port) == interface_id


def _check_ours(port: Link, interface_id: str) -> None:
    if not _has_our_alias(port, interface_id):
        raise Refused(
            Code.EXISTS,
            f"{port.name} is to be the host's end of {interface_id}, but a {port.kind or 'link'} "
            f"with the alias {port.alias!r} has that name: rename or remove it",
        )


def _check_foreign(interface: Interface) -> None:
    if interface.netns_cookie == netns.cookie():
        raise Refused(
            Code.INVALID,
            f"{interface.netns} is the host's own network namespace: attach {interface.id} to a container's",
        )
