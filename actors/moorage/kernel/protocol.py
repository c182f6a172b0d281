"""What moorage asks of a kernel: links, a firewall and a few facts. `linux/` is the real one, `memory.py` a dict."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Mapping, MutableMapping, Sequence
from concurrent.futures import Future
from types import MappingProxyType
from typing import NamedTuple, Protocol

from moorage.model.caller import Caller
from moorage.model.overdrawn import Overdrawn
from moorage.model.share import FLOWS
from moorage.threads import Lost
from moorage.values import Interface, Network


class Element(NamedTuple):
    """One element of a set or a map of the nftables table: `key` alone in a set, `key : value` in a map."""

    container: str
    """The name of the set or map: `bridges`, `net4if`, `pub4_any`, …"""
    key: tuple[str | int, ...]
    value: tuple[str | int, ...] = ()


class Flow(NamedTuple):
    """The connections of one mapping, as conntrack knows them.

    They go to `host_ip:first..last` on the host, and are led to a backend. `host_ip` is "" for every address
    of the host.
    """

    proto: str
    host_ip: str
    first: int
    last: int
    backends: tuple[str, ...]
    """The container's addresses."""


class Occupied(NamedTuple):
    """A part of the address space that the host uses already, and how: `route 10.0.0.0/8 dev eth0`."""

    subnet: str
    text: str
    device: str = ""
    """The link that it belongs to, by which an adopted bridge's own are known; "" for none."""


class WayOut(NamedTuple):
    """A way by which the host reaches everything else: of a default route, or of a piece of one."""

    device: str
    gateway: str
    """Its address; "" for none."""
    text: str
    """`default via 192.0.2.1 dev eth0`."""


class Bridge(NamedTuple):
    """A bridge that is there: its IPv4 addresses (`10.0.42.1/24`, in the kernel's order), its MTU in bytes."""

    addresses: Sequence[str]
    mtu: int
    ours: bool = False
    """Whether it is one that an agent made, for whichever state."""


class Namespace(NamedTuple):
    """A network namespace: an absolute path to it, and its cookie, which no other has until the host boots."""

    path: str
    cookie: int


class Maker(NamedTuple):
    """The state for which something of ours was made: its id, and the absolute path of its folder.

    An id of "" is that of nobody known: an earlier version made it.
    """

    id: str
    folder: str = ""
    """Nothing where it is not known; `hashed_folder` where it found no room."""

    def is_of(self, folder: str) -> bool:
        """Whether this is the folder, as far as that can be known."""
        return self.folder in {folder, hashed_folder(folder)}


NOBODY = Maker("")


def hashed_folder(folder: str) -> str:
    """What stands for a folder where there is no room for it: `#` and 24 digits."""
    return "#" + hashlib.blake2b(os.fsencode(folder), digest_size=12).hexdigest()


class Made(NamedTuple):
    """Something of ours in the kernel, whoever made it."""

    what: str
    """A link's name, or `TABLE`."""
    owner: str
    """The id of the interface, or the name of the network; "" of the table."""
    maker: Maker
    living: bool = False
    """Whether it is the link of a container that is there."""
    attached: int = 0
    """`Interface.attached` of the container."""


TABLE = "table inet moorage"
"""What the table is called among what is `Made`."""


class Reconciled(NamedTuple):
    """What an audit of the links found: sentences on what it put right, ids whose namespace is gone.

    `contested` warns of what somebody undoes each time, once for each fight. Where such a thing was left as it is
    for a while, `rest` says after how many seconds to look again.
    """

    repaired: Sequence[str]
    vanished: Sequence[str]
    contested: Sequence[str] = ()
    rest: float | None = None
    swept: Sequence[str] = ()
    """The ids of those whose links nobody had recorded, and that were removed."""
    warnings: Sequence[str] = ()
    """What of the host stops traffic of these networks as it is now, a sentence for each."""


class Kept(NamedTuple):
    """What becomes of our traffic: warnings of what stops it that we cannot change, sentences on what was put right."""

    warnings: Sequence[str] = ()
    repaired: Sequence[str] = ()


class Forwarded(NamedTuple):
    """A bridge whose traffic is forwarded."""

    bridge: str
    ipv6: bool = False
    """Whether its network has IPv6."""
    internal: bool = False
    """Whether its network has no way out but to published ports."""


class Survey(NamedTuple):
    """What the kernel shows of an agent's work, without a record of it.

    Names of networks, ids and `created` (empty) are guesses where the kernel has none; labels are lost.
    """

    networks: Sequence[Network]
    interfaces: Sequence[Interface]
    sysctls: Mapping[str, str] = MappingProxyType({})
    """What sysctls were before they were changed, as far as the rules tell: whether the host forwarded."""


class Links(Protocol):
    """Bridges, veth pairs, addresses, routes and the sysctls that belong to them. Used by the thread that opened it."""

    def host_has_ipv6(self) -> bool:
        """Whether the host has IPv6 at all."""

    def occupied(self) -> list[Occupied]:
        """Every route, address and nameserver of the host that a new subnet may not overlap."""

    def mtu_out(self, *, ipv6: bool) -> int | None:
        """The MTU of the link by which IPv4 leaves the host, or the lesser of that and IPv6's; None for no link."""

    def ways_out(self) -> list[WayOut]:
        """Every way of the host's default routes, in whatever table they are."""

    def find_bridge(self, name: str) -> Bridge | None:
        """The bridge of that name; None when no link has it.

        Raises Refused (invalid) when the link is not a bridge.
        """

    def ensure_network(self, network: Network) -> list[str]:
        """Make the bridge what `network` says, and return a sentence for each thing that had to be changed."""

    def remove_network(self, network: Network) -> None:
        """Remove the bridge, or from an adopted one what we added. Nothing to remove is no error."""

    def find_namespace(self, netns: str, caller: Caller | None) -> Namespace | None:
        """Resolve a path, with the rights of `caller` (None: the agent's own), a name under `/run/netns`, or `pid:N`.

        None where a file system has to be asked, which may answer late: `Kernel.search_namespace` does.

        Raises Refused: not_found, invalid, denied (in the same words whatever is there), unavailable.
        """

    def attach(self, interface: Interface, network: Network) -> None:
        """Make the veth pair of an interface whose `netns`, `netns_cookie` and `ifname` are set.

        Idempotent, and all or nothing.

        Raises Refused: not_found for a namespace that is gone, exists for an ifname taken there, address_in_use
        for the MAC of the bridge.
        """

    def detach(self, interface_id: str) -> None:
        """Remove the veth pair of that interface. Nothing to remove is no error."""

    def gone(self, interfaces: Collection[Interface]) -> list[str]:
        """The ids of those that are attached, and whose namespace has ended. Changes nothing."""

    def reconcile(self, networks: Collection[Network], interfaces: Collection[Interface]) -> Reconciled:
        """Put right all links, addresses, routes and sysctls of these, and remove veths of ours that none names.

        Ours are those of the maker that opened this, and of nobody known.
        """

    def changed_unheard(self) -> bool:
        """Whether something differs from what was made of it of which `watch` does not tell. Cheap."""

    def watch(self, wake: Callable[[], None], lost: Lost) -> None:
        """Call `wake` (from any thread, often) whenever links, addresses or routes changed, until `close`.

        `lost` is called, from any thread, with the error that nothing more is told after.
        """

    def restore(self, sysctls: Mapping[str, str]) -> None:
        """Put back former values of sysctls, by path under `/proc/sys`; `former` keeps them."""

    def close(self) -> None:
        """Give back sockets and threads; the links stay."""


class Firewall(Protocol):
    """The nftables table, conntrack and reserved ports. Used by one thread, which opened it."""

    def install(self, elements: Collection[Element]) -> list[str]:
        """Make the table hold our rules and exactly these elements, in one transaction.

        What is right is left alone. Returns a sentence for each thing that was not so.
        """

    def change(self, add: Collection[Element], remove: Collection[Element]) -> None:
        """Add and remove elements in one transaction.

        Adding replaces another value of the key; removing what is absent is no error.
        """

    def changed(self) -> bool:
        """Whether anybody else changed an nftables table, a routing rule or reserved ports since we did or the last
        call. Cheap.
        """

    def flush_flows(self, flows: Collection[Flow]) -> bool:
        """Forget the conntrack entries of these mappings, so that new ones are translated and old ones end.

        Returns whether that is left for soon after, in a crowd of them.
        """

    def end_begun(self, flows: Collection[Flow]) -> bool:
        """Forget what the host has begun from these ports before they were published: its answers may be a client's.

        Connections of TCP that were established are left. Returns what `flush_flows` does.
        """

    def reclaim(
        self, flows: Collection[Flow], forget: Callable[[], object] | None = None, *, wait: bool = True
    ) -> Future[None] | None:
        """Forget the conntrack entries at the host's side of these mappings that no rule translated.

        So that they are from now on. Those between addresses of the host itself, which a proxy may carry, are left, and
        so are connections of TCP that live. Where somebody may begin them anew, he is told to `forget`, from any
        thread, and they are forgotten again, until there are none, or it has been tried a few times.

        Returns None when that is done, and what will be done with it where it is left for soon after: in a crowd of
        entries, and where nobody is to `wait`. It is done as well where that never will be: this firewall was closed.
        """

    def end_flows(self, gone: Collection[str], come: Collection[str]) -> None:
        """Forget all conntrack entries of addresses of containers, whoever began them.

        Those of `come` are forgotten on return, unless nobody has had the address since they were; those of `gone`
        then or soon after.
        """

    def masquerade(self, published: Collection[int], ours: frozenset[int], automatic: range) -> None:
        """Say what masquerading has to know before `install`: it takes ports that are nobody's else.

        None of these that are `published`, nor that a program listens at, nor that somebody reserved; `ours` were
        reserved for us. Of those that are given automatically as few as can be.
        """

    def set_aside(self) -> frozenset[int]:
        """The ports to be reserved for masquerading, which takes them after that, and a `follow`."""

    def keep_clear(self, add: Collection[tuple[str, int]], remove: Collection[int]) -> None:
        """Take none of the ports `add` (protocol and port) from now on, and forget connections that have one of them.

        The port is taken by no protocol, whichever it is published for. `remove` are published no more, for any.
        """

    def follow(self) -> None:
        """See what has moved on the host since the last call: addresses of its, and programs that listen.

        Forget the conntrack entries to addresses that left or came, and what masquerading gave ports that others
        listen at now, of which it takes none any more.
        """

    def overdrawn(self) -> Overdrawn:
        """Who may begin no connection now, since as many are there as may be."""

    def end_strays(self, mapped: Collection[Flow], subnets: Collection[str]) -> None:
        """Forget the conntrack entries that lead from host addresses into `subnets` through none of `mapped`.

        Where the proxy carries 127.0.0.1, nothing leads from there; and nothing from an address that is not the host's.
        """

    def keep_forwarding(self, bridges: Collection[Forwarded]) -> Kept:
        """Let the traffic of these bridges pass FORWARD chains of iptables (either kind) whose policy drops it.

        That comes after all rules of others, and is moved there where it is not. What was put there for other bridges
        is taken out. A warning names each chain, of whomever, that drops their traffic by a rule for everything, or by
        a policy that cannot be overridden.
        """

    def keep_answers(
        self, networks: Collection[tuple[str, str]], remember: Callable[[str, str], None], *, repair: bool
    ) -> Kept:
        """Let answers of published ports leave as a service's of the host would, where it has routing rules of its own.

        `networks` are subnets with their bridges, which the host goes on to reach in spite of its rules. Warnings are
        of rules that cannot be followed. `remember(path, value)` is called before a sysctl is changed the first time.
        Without `repair` what others changed of ours is left until the host's rules change.
        """

    def read_reserved(self) -> frozenset[int]:
        """The ports in `ip_local_reserved_ports`."""

    def write_reserved(self, add: Collection[int], remove: Collection[int]) -> None:
        """Add to and take out of `ip_local_reserved_ports`, keeping what others wrote."""

    def ephemeral(self) -> range:
        """The ports of `ip_local_port_range`."""

    def watch(self, wake: Callable[[], None], moved: Callable[[], None], lost: Lost) -> None:
        """Call `wake` (from any thread, often) whenever somebody changed what `changed` is about, until `close`.

        And `moved` whenever there is something to `follow`, or another interface is `overdrawn`. `lost` is called, from
        any thread, with the error that nothing more is told after.
        """

    def remove(self) -> None:
        """Remove the table and what the other methods put elsewhere, but for ports and sysctls.

        Nothing to remove is no error.
        """

    def close(self) -> None:
        """Give back sockets and threads; the rules stay."""


class Claim(Protocol):
    """A kernel's links and rules, kept for one agent."""

    def release(self) -> None:
        """Let another agent have them. A second time is no error."""


class Kernel(Protocol):
    """Where links and firewalls are opened, and facts that any thread may ask for.

    Raises Refused when the right to change it, or a part of it, is missing.
    """

    @property
    def real(self) -> bool:
        """False for a kernel in a dict: then `netns` is unsupported."""

    def claim(self) -> Claim:
        """Keep other agents out until it is released. Raises Refused (exists) when one is there, naming its process."""

    def open_links(
        self,
        former: MutableMapping[str, str],
        *,
        loopback: str,
        maker: Maker = NOBODY,
        others: Collection[str] = (),
    ) -> Links:
        """Open in the calling thread. `loopback` is as in `open_firewall`.

        `former` has what sysctls were before we changed them, by path under `/proc/sys`. It is told of a path before
        the first change to it, which waits until it has kept that, and may refuse; what was put back is deleted.

        What is made is marked as `maker`'s; what the states of the ids `others` made is taken for our own, too.
        """

    def open_firewall(self, *, loopback: str, maker: Maker = NOBODY, flows: int = FLOWS) -> Firewall:
        """Open in the calling thread; `loopback` says who carries 127.0.0.1: "kernel" (rules) or "proxy".

        With "connect" TCP sockets are led to the container as they connect, and rules carry the rest. The table is
        marked as `maker`'s. An interface may have begun `flows` connections at a time.
        """

    def reserved_ports(self) -> frozenset[int]:
        """The ports that `ip_local_reserved_ports` names at this moment."""

    def outgoing(self) -> tuple[range, int]:
        """The ports of `ip_local_port_range`, and how many of them `ip_local_reserved_ports` names."""

    def holder(self, proto: str, port: int) -> str | None:
        """Who holds a host port in this network namespace: `pid 812 (nginx)`; None where the kernel does not tell."""

    def bound(self, proto: str) -> frozenset[int]:
        """Every port of a protocol that a socket of this network namespace is bound to, of either family."""

    def search_namespace(self, path: str, caller: Caller | None) -> Namespace:
        """As `Links.find_namespace`, however long that takes: for a thread with nothing else to do."""

    def made(self) -> list[Made]:
        """All links of ours, and the table, with whose they are. Cheap."""

    def survey(self, default_bridge: str, makers: Collection[str]) -> Survey:
        """Read what states of these ids made. `default_bridge` is that of the network `default`."""

    def identify(self, interfaces: Collection[Interface]) -> Mapping[str, int]:
        """The cookies of the namespaces that these are attached to, by id, as far as their veth pairs prove them."""

    def boot_id(self) -> str:
        """Another string after every boot."""
