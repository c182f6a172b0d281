"""The audit of all links: what was asked for, less what is there, put right."""

from __future__ import annotations

from collections.abc import Collection, Container

from moorage.errors import Code, Refused
from moorage.kernel.linux import marks, names, netns
from moorage.kernel.linux.bridge import Bridges, fitted
from moorage.kernel.linux.hindrances import hindrances
from moorage.kernel.linux.repairs import Repairs
from moorage.kernel.linux.routes import ways_out
from moorage.kernel.linux.rtdump import Reader
from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.linux.veth import Veths, namespace_of, unfit_flags
from moorage.kernel.protocol import Reconciled
from moorage.model.adopting import cut_off
from moorage.model.link_names import can_be_said
from moorage.values import Interface, Network

Links = dict[str, Link]

_FEW = 4
"""Networks up to which the kernel is asked of each by itself."""


class Audit:
    """Puts right what differs; remembers the containers it has looked into, and what it said of failures."""

    def __init__(
        self, reader: Reader, bridges: Bridges, veths: Veths, repairs: Repairs, makers: Collection[str]
    ) -> None:
        self._reader = reader
        self._bridges = bridges
        self._veths = veths
        self._repairs = repairs
        self._makers = frozenset(makers)
        self._seen: set[tuple[str, int]] = set()
        self._known: set[tuple[int, str]] = set()
        """The MACs that the bridge now looked at knows for good, with their ports."""
        self._failures: dict[str, str] = {}
        self._told: dict[str, str] = {}

    def run(
        self,
        networks: Collection[Network],
        interfaces: Collection[Interface],
        changed: Collection[int] | None,
    ) -> Reconciled:
        """Audit these; `changed` holds the nsids of containers that changed, None for perhaps any."""
        self._told, self._failures = self._failures, {}
        attached = {interface.id: interface for interface in interfaces if interface.netns}
        done = self._ensure_networks(networks)
        repaired = [sentence for sentences in done.values() for sentence in sentences]
        links = {link.name: link for link in self._reader.links()}
        self._seen &= {(marks.owner(link) or "", link.ifindex) for link in links.values()}
        present = [each for each in networks if each.bridge in links and can_be_said(each.bridge)]
        by_name = {network.name: fitted(network, links[network.bridge]) for network in present}
        known = {
            each.bridge: self._reader.known_macs(links[each.bridge].ifindex) for each in present if attached
        }
        vanished = []
        for interface in attached.values():
            if has_vanished(interface, links):
                vanished.append(interface.id)
            elif network := by_name.get(interface.network):
                follows = bool(done[network.name])
                self._known = known[network.bridge]
                repaired += self._ensure_interface(interface, network, links, changed, follows=follows)
        swept = self._sweep(links, attached)
        repaired += [f"veth of {interface_id} belonged to nobody, removed" for interface_id in swept]
        warnings = self._warnings(networks, links.values()) if networks else []
        return Reconciled(repaired, vanished, *self._repairs.outcome(), swept, warnings)

    def _warnings(self, networks: Collection[Network], links: Collection[Link]) -> list[str]:
        bridges = [network.bridge for network in networks]
        failures = [_unrepaired(what, text) for what, text in self._failures.items()]
        adopted = [network for network in networks if network.adopted]
        ways = ways_out(self._reader) if adopted else ()
        failures += cut_off(adopted, ways)
        return [*hindrances(links, self._reader.addresses(), bridges), *failures, *self._repairs.fights()]

    def _ensure_networks(self, networks: Collection[Network]) -> dict[str, list[str]]:
        done = {}
        try:
            for network in networks:
                if len(networks) > _FEW:
                    self._reader.glimpse()
                done[network.name] = self._ensure_network(network)
        finally:
            self._reader.forget()
        return done

    def _ensure_network(self, network: Network) -> list[str]:
        try:
            return self._bridges.ensure(network)
        except Refused as refused:
            return self._tell(f"bridge {network.bridge}", refused)

    def _ensure_interface(
        self,
        interface: Interface,
        network: Network,
        links: Links,
        changed: Collection[int] | None,
        *,
        follows: bool,
    ) -> list[str]:
        """What `follows` from the repair of a bridge is no repair of its own."""
        bridge, port = links[network.bridge], links.get(names.port_name(interface.id))
        if port is not None and not self._is_suspect(interface, network, bridge, port, changed):
            return []

        def ensure() -> list[str]:
            done = self._veths.ensure(interface, network, bridge)
            if port is not None:
                self._seen.add((interface.id, port.ifindex))
            return done

        what = f"veth of {interface.id}"
        if port is not None:
            self._seen.discard((interface.id, port.ifindex))  # while it rests, nobody looks into it
        if not follows and self._repairs.rests_inside(what):
            self._failures |= {what: self._told[what]} if what in self._told else {}
            return []
        try:
            return ensure() if follows else self._repairs.attempt_inside(what, ensure)
        except Refused as refused:
            return self._tell(what, refused)

    def _is_suspect(
        self,
        interface: Interface,
        network: Network,
        bridge: Link,
        port: Link,
        changed: Collection[int] | None,
    ) -> bool:
        right = (bridge.ifindex, network.mtu, self._veths.alias(interface), True, True)
        if unfit_flags(port, bridge) or (port.ifindex, interface.mac.lower()) not in self._known:
            return True
        if (port.master, port.mtu, port.alias, port.carrier, port.arp) != right:
            return True
        return changed is None or port.nsid in changed or (interface.id, port.ifindex) not in self._seen

    def _tell(self, what: str, refused: Refused) -> list[str]:
        """A failure stops no other repair and is told once; what went away meanwhile is the next audit's."""
        if refused.code in {Code.UNAVAILABLE, Code.NOT_FOUND}:
            return []
        self._failures[what] = refused.text
        if self._told.get(what) == refused.text:
            return []
        return [_unrepaired(what, refused.text)]

    def _sweep(self, links: Links, wanted: Collection[str]) -> list[str]:
        """Remove what a life before this one made and no record knows; what others made is left."""
        left = [link for link in links.values() if marks.is_port(link) and marks.maker(link) in self._makers]
        strangers = [owner for link in left if (owner := marks.owner(link) or "") not in wanted]
        for interface_id in strangers:
            self._veths.remove(interface_id)
        return strangers


def has_vanished(interface: Interface, links: Container[str]) -> bool:
    """Whether its namespace has ended: with only its path gone, the pair in it is there still."""
    return names.port_name(interface.id) not in links and netns.is_gone(namespace_of(interface))


def _unrepaired(what: str, why: str) -> str:
    return f"{what} cannot be put right: {why}"
