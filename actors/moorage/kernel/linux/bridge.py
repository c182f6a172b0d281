"""The bridges of networks: their addresses, routes and sysctls."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import ip_address, ip_network
from pathlib import Path
from socket import AF_INET, AF_INET6

from moorage.errors import Code, Refused
from moorage.kernel.linux import marks, reassembly, sysctl
from moorage.kernel.linux.names import LINK_LOCAL, bridge_mac, link_local
from moorage.kernel.linux.readiness import await_addresses
from moorage.kernel.linux.repairs import Repairs
from moorage.kernel.linux.router import Router
from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.linux.rtnetlink import IFA_F_NODAD, OURS, Rtnetlink, ignoring, refusing
from moorage.kernel.linux.sysctl import Sysctls
from moorage.kernel.protocol import Maker
from moorage.model.forwarding import SWITCHES
from moorage.model.link_names import can_be_said
from moorage.values import Network

_MAIN = 254  # RT_TABLE_MAIN
_KERNEL = 2  # RTPROT_KERNEL
_LINK_SCOPE = 253  # RT_SCOPE_LINK
_IPV6 = Path("/proc/sys/net/ipv6/conf")
_PLAIN = {"br_mcast_snooping": 0}
"""A bridge that listens to who reports which groups sends groups to those alone once somebody asks for that, which no
container may; until then it only fills its table with what containers report, without a bound for each."""


def host_has_ipv6() -> bool:
    """Whether the kernel of this namespace has IPv6, and it was not switched off for every link."""
    return _IPV6.exists() and sysctl.read("net/ipv6/conf/all/disable_ipv6") == "0"


class Bridges:
    """Makes bridges what networks say. Every method raises Refused (denied) without CAP_NET_ADMIN."""

    def __init__(
        self,
        netlink: Rtnetlink,
        sysctls: Sysctls,
        router: Router,
        repairs: Repairs,
        *,
        loopback: str,
        maker: Maker,
    ) -> None:
        self._ip = netlink.ip
        self._reader = netlink.reader
        self._sysctls = sysctls
        self._router = router
        self._repairs = repairs
        self._loopback = loopback
        self._maker = maker
        self._pinned: set[int] = set()
        self._made: set[str] = set()

    def find(self, name: str) -> Link | None:
        """The bridge of that name; raises Refused: invalid for another kind of link, unsupported for a name of former
        versions that no rule can say.
        """
        if not can_be_said(name):
            raise Refused(
                Code.UNSUPPORTED,
                f"no rule can name the bridge {name!r}, and nothing would guard it: release the interfaces of its "
                "network, remove it, and make another on another bridge",
            )
        link = self._reader.link(name)
        if link is not None and link.kind != "bridge":
            kind = f"a {link.kind}" if link.kind else "a link of another kind"
            raise Refused(Code.INVALID, f"{name} is to be a bridge, but it is {kind}: choose another name")
        return link

    def ensure(self, network: Network) -> list[str]:
        """Make the bridge what `network` says, all or nothing; returns a sentence for each change.

        What somebody undoes each time is left as it is until it has rested.
        Raises Refused: invalid for the name, unsupported for IPv6 on a host without.
        """
        if network.subnet6 and not host_has_ipv6():
            raise Refused(
                Code.UNSUPPORTED,
                f"network {network.name} asks for {network.subnet6}, but this host has no IPv6",
            )
        if not can_be_said(network.bridge):
            self._shut(network.bridge)
        found = self.find(network.bridge)
        with refusing(f"set up the bridge {network.bridge}"):
            if found is not None and self._is_left(found, network):
                found = self._take_over(found)
            if found is None:
                return self._remake(network)
            done = self._settle(network, found)
            if done and found.carrier:
                await_addresses(self._reader, found.ifindex)
            return done

    def remove(self, network: Network) -> None:
        """Delete the bridge; an adopted one loses the addresses that we added, and stays."""
        self._made.discard(network.bridge)
        link = self._reader.link(network.bridge)
        if link is None or link.kind != "bridge":
            return
        with refusing(f"remove the bridge {network.bridge}"), ignoring(errno.ENODEV, errno.EADDRNOTAVAIL):
            if not network.adopted or marks.is_ours(link):
                self._ip.link("del", index=link.ifindex)
            else:
                self._take_back(link.ifindex)

    def _shut(self, bridge: str) -> None:
        """Set the ports of ours down in a bridge that rules cannot guard."""
        links = {link.name: link for link in self._reader.links()}
        with refusing(f"set down the ports of the bridge {bridge!r}"):
            for port in links.values():
                if (
                    bridge in links
                    and port.master == links[bridge].ifindex
                    and marks.is_port(port)
                    and port.up
                ):
                    self._ip.link("set", index=port.ifindex, state="down")

    def _is_left(self, link: Link, network: Network) -> bool:
        """Whether it was made for another network, of this state or of one whose containers are gone."""
        same = marks.owner(link) == network.name and marks.maker(link) in {"", self._maker.id}
        return marks.is_ours(link) and not same

    def _take_over(self, link: Link) -> Link | None:
        """Begin anew; where somebody put a link of his own into it, only our addresses go."""
        if any(each.master == link.ifindex for each in self._reader.links()):
            self._take_back(link.ifindex)
            return link
        self._ip.link("del", index=link.ifindex)
        return None

    def _remake(self, network: Network) -> list[str]:
        """The first time is no repair."""
        if network.bridge in self._made:
            return self._repairs.attempt(_name(network), lambda: self._make(network))
        return self._make(network)

    def _make(self, network: Network) -> list[str]:
        given = {"address": bridge_mac(network.bridge), "mtu": network.mtu, **_PLAIN}
        self._ip.link("add", ifname=network.bridge, kind="bridge", **given)
        self._sysctls.forget_link(network.bridge)
        try:
            link = self._reader.link(network.bridge)
            assert link is not None  # noqa: S101 - made above
            self._set_sysctls(network)
            self._settle_link(network, link)
            self._forward(network)
        except BaseException:
            self._ip.link("del", ifname=network.bridge)
            raise
        self._made.add(network.bridge)
        return [f"{_name(network)} was missing, made"]

    def _settle(self, network: Network, link: Link) -> list[str]:
        done = self._set_sysctls(network)
        if done:
            self._reader.forget()  # IPv6 comes with addresses and routes
        return [
            *done,
            *self._repairs.attempt(_name(network), lambda: self._settle_link(network, link)),
            *self._forward(network),
        ]

    def _settle_link(self, network: Network, link: Link) -> list[str]:
        return [
            *self._set_link(network, link),
            *self._add_address(network.bridge, link.ifindex, network.gateway, network.subnet),
            *(
                self._add_address(network.bridge, link.ifindex, network.gateway6, network.subnet6)
                if network.gateway6 and network.subnet6
                else []
            ),
            *(self._add_link_local(network, link) if network.subnet6 else []),
        ]

    def _set_sysctls(self, network: Network) -> list[str]:
        """Before the link is up: a bridge that looks for duplicates of its link-local address answers
        neighbours 2.05 s late, one that does not after 10 to 20 ms.
        """
        wanted = {"ipv4": {}, "ipv6": {"accept_dad": "0", "dad_transmits": "0"}}
        if self._loopback != "proxy":
            wanted["ipv4"]["route_localnet"] = "1"
        if not network.adopted:
            wanted["ipv4"].setdefault("route_localnet", "0")
            # a container may not become the host's router, nor name another
            wanted["ipv6"] |= {"accept_ra": "0", "accept_redirects": "0"}
        if network.subnet6:
            wanted["ipv6"]["disable_ipv6"] = "0"
        return [
            sentence
            for family, values in wanted.items()
            for name, value in values.items()
            for sentence in self._sysctls.ensure(
                f"net/{family}/conf/{network.bridge}/{name}", value, ours=not network.adopted
            )
        ]

    def _set_link(self, network: Network, link: Link) -> list[str]:
        change: dict[str, str | int] = {}
        if not link.up:
            change["state"] = "up"
        if not link.arp:
            change["arp"] = True
        if network.adopted:
            change |= self._pin(link)
        else:
            change |= {"mtu": network.mtu} if link.mtu != network.mtu else {}
            change |= {"address": bridge_mac(link.name)} if link.mac != bridge_mac(link.name) else {}
            wanted = marks.bridge_alias(network.name, self._maker)
            change |= {"ifalias": wanted} if link.alias != wanted else {}
        if change:
            self._ip.link("set", index=link.ifindex, **change)
        if not network.adopted and (link.stp or link.snooping):
            self._ip.link("set", index=link.ifindex, kind="bridge", br_stp_state=0, **_PLAIN)
            change |= {"stp_state": 0} if link.stp else {}
            change |= {"mcast_snooping": 0} if link.snooping else {}
        return [f"bridge {link.name}: {name} set to {value}" for name, value in change.items()]

    def _pin(self, link: Link) -> dict[str, str | int]:
        """A bridge never given a MAC takes the lowest of its ports', and others lose their gateway with
        each container; giving it the one it has pins it. Once a life, since the kernel does not tell.
        """
        if link.ifindex in self._pinned:
            return {}
        self._pinned.add(link.ifindex)
        return {"address": link.mac}

    def _add_address(self, bridge: str, index: int, gateway: str, subnet: str) -> list[str]:
        prefix = ip_network(subnet).prefixlen
        wanted = (ip_address(gateway), prefix)
        done = []
        if wanted not in [(held.local, held.prefix) for held in self._reader.addresses(index)]:
            nodad = {"flags": IFA_F_NODAD} if ":" in gateway else {}
            with ignoring(errno.EEXIST):
                self._ip.addr("add", index=index, address=gateway, prefixlen=prefix, proto=OURS, **nodad)
            done.append(f"bridge {bridge}: address {gateway}/{prefix} added")
        return done + self._add_route(bridge, index, gateway, subnet)

    def _add_link_local(self, network: Network, link: Link) -> list[str]:
        """Neighbours are asked from the link-local address; the kernel makes it once, with the first port."""
        if any(held.local in LINK_LOCAL for held in self._reader.addresses(link.ifindex)):
            return []
        address = link_local(link.mac if network.adopted else bridge_mac(link.name))
        with ignoring(errno.EEXIST):
            self._ip.addr(
                "add", index=link.ifindex, address=address, prefixlen=64, flags=IFA_F_NODAD, proto=OURS
            )
        return [f"bridge {link.name}: address {address}/64 added"]

    def _add_route(self, bridge: str, index: int, gateway: str, subnet: str) -> list[str]:
        if self._reader.is_connected(index, str(ip_network(subnet))):
            return []
        family = AF_INET6 if ":" in subnet else AF_INET
        held = [route for route in self._reader.routes(family, index) if route.table == _MAIN]
        if str(ip_network(subnet)) in [route.subnet for route in held]:
            return []
        local = {"scope": _LINK_SCOPE, "prefsrc": gateway} if family == AF_INET else {"priority": 256}
        with ignoring(errno.EEXIST):
            self._ip.route("add", dst=subnet, oif=index, proto=_KERNEL, family=family, **local)
        return [f"bridge {bridge}: route to {subnet} added"]

    def _take_back(self, index: int) -> None:
        for held in self._reader.addresses(index):
            if held.proto == OURS:
                self._ip.addr("del", index=index, address=str(held.local), prefixlen=held.prefix)

    def _forward(self, network: Network) -> list[str]:
        return [
            *self._router.ensure(ipv6=network.subnet6 is not None),
            *reassembly.ensure(self._sysctls),
            *self._forward_bridge(network),
        ]

    def _forward_bridge(self, network: Network) -> list[str]:
        """The host's switch of IPv4, when it is turned, is every link's, which may be turned off alone later."""
        if sysctl.read(SWITCHES["ipv4"]) != "1":
            return []
        path = f"net/ipv4/conf/{network.bridge}/forwarding"
        return self._sysctls.ensure(path, "1", ours=not network.adopted)


def fitted(network: Network, bridge: Link) -> Network:
    """The network with the MTU that its containers' links need: that of a bridge that is somebody else's.

    Larger packets than the bridge's would be lost in it, and a smaller link may shrink it for all others.
    """
    return replace(network, mtu=bridge.mtu) if network.adopted else network


def _name(network: Network) -> str:
    return f"bridge {network.bridge}"
