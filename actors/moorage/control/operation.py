"""What an interface is told to do, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from moorage import values
from moorage.control.context import now, uptime
from moorage.control.ports import missing
from moorage.kernel.protocol import Namespace
from moorage.model.caller import Caller
from moorage.model.interfaces import mac_of, prefix_of
from moorage.model.port_spec import PortSpec
from moorage.store.operations import RequestKey
from moorage.values import GATEWAY, Interface, Network

IFNAME = "eth0"
"""What an interface is called in its container unless said otherwise."""


@dataclass(frozen=True, slots=True)
class Allocate:
    """Give the interface what is asked, or, when it exists, tell whether it has it."""

    network: str
    ip: str | None = None
    ipv6: str | None = None
    mac: str | None = None
    netns: str | None = None
    ifname: str | None = None
    ports: tuple[PortSpec, ...] = ()
    labels: Mapping[str, str] | None = None
    source: str = GATEWAY
    key: RequestKey | None = None
    caller: Caller | None = None
    """Whose rights count for the path of a namespace; None for the agent's own."""

    def made(
        self, id: str, network: Network, addresses: tuple[str, str | None], ports: tuple[values.Mapping, ...]
    ) -> Interface:
        """The interface that this makes, not attached; `addresses` are what it was given, one of each family."""
        ip, ipv6 = addresses
        return Interface(
            id=id,
            network=network.name,
            ip=ip,
            prefix=prefix_of(network.subnet),
            gateway=network.gateway,
            mac=self.mac or mac_of(ip),
            created=now(),
            ipv6=ipv6,
            prefix6=prefix_of(network.subnet6) if network.subnet6 else None,
            gateway6=network.gateway6,
            ports=ports,
            labels=self.labels or {},
            owner=None if self.caller is None else self.caller.uid,
        )

    def difference(self, interface: Interface, namespace: Namespace | None) -> str | None:
        """What of an existing interface is not as asked, `namespace` being what `netns` names; None when all is."""
        for name in ("network", "ip", "ipv6", "mac", "ifname"):
            asked, is_ = getattr(self, name), getattr(interface, name)
            if asked is not None and asked != is_:
                return f"the {name} {is_}"
        if namespace is not None and namespace.cookie != interface.netns_cookie:
            return f"the netns {interface.netns}"
        if self.labels is not None and dict(self.labels) != dict(interface.labels):
            return "other labels"
        left = missing(self.ports, interface.ports, self.source)
        return f"no mapping {left[0]}{self._with_source()}" if left else None

    def _with_source(self) -> str:
        return f" with source {self.source}" if self.source != GATEWAY else ""


@dataclass(frozen=True, slots=True)
class Attach:
    """Connect the interface to a namespace."""

    netns: str
    ifname: str | None
    key: RequestKey | None = None
    caller: Caller | None = None
    """As in `Allocate`."""


@dataclass(frozen=True, slots=True)
class Detach:
    """Take the interface out of its namespace."""

    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Publish:
    """Publish ports of the container."""

    ports: tuple[PortSpec, ...]
    source: str
    key: RequestKey | None = None
    caller: Caller | None = None
    """Whose interface it is then; None for the agent's own."""


@dataclass(frozen=True, slots=True)
class Unpublish:
    """Take back published ports; None for all."""

    ports: tuple[PortSpec, ...] | None
    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """Give everything back."""

    key: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """See whether there is an interface at all: without one its actor is gone."""


Operation = Allocate | Attach | Detach | Publish | Unpublish | Release


def placed(interface: Interface, namespace: Namespace, ifname: str | None) -> Interface:
    """The interface, attached there."""
    return replace(
        interface,
        netns=namespace.path,
        netns_cookie=namespace.cookie,
        ifname=ifname or IFNAME,
        attached=int(uptime() * 1000),
    )
