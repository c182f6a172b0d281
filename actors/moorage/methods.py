"""Every method of the agent, typed: what `Agent` and `Client` have in common."""

from __future__ import annotations

import builtins
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from moorage.rpc.wire import (
    interface_from_wire,
    interfaces_from_wire,
    status_from_wire,
    value_from_wire,
    values_from_wire,
)
from moorage.values import ActorInfo, Hello, Interface, Network, Released, Removed, Status, Step


class EventStream(Iterator[dict[str, Any]], ABC):
    """Events as they happen, each `{event, time, …}`; ends when it is closed, from any thread."""

    @abstractmethod
    def close(self) -> None:
        """End the stream; a thread that waits in it is woken."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Methods(ABC):
    """The methods of the agent as typed calls over one abstract `_call`.

    Everything raises Refused (nothing was done) and Fault (outcome unknown: the same call with the same
    `request` may be repeated). `request` is the caller's own unique string of 1 to 256 characters: a call
    repeated with it gets the first answer and takes nothing twice.
    """

    @abstractmethod
    def _call(self, method: str, params: dict[str, Any]) -> Any:
        """Do one call and return its result as wire values; raise Refused or Fault."""

    @abstractmethod
    def subscribe(self, events: Iterable[str] | None = None) -> EventStream:
        """Return a stream of these events, or of all; what happens after this call is in it."""

    def hello(self) -> Hello:
        """Return who answers."""
        return value_from_wire(Hello, self._call("hello", {}))

    def allocate(
        self,
        id: str | None = None,
        *,
        network: str | None = None,
        ip: str | None = None,
        ipv6: str | None = None,
        mac: str | None = None,
        netns: str | None = None,
        ifname: str | None = None,
        ports: Iterable[str] | None = None,
        source: str | None = None,
        labels: Mapping[str, str] | None = None,
        request: str | None = None,
    ) -> Interface:
        """Give a container its place on a network, publish `ports`, and attach it where `netns` is given.

        Without `id` the agent makes one, without `network` it is `default`, without `ip` a free one. `source` is
        that of `publish`.
        """
        asked = _given(
            id=id, network=network, ip=ip, ipv6=ipv6, mac=mac, netns=netns, ifname=ifname,
            ports=_array(ports), source=source, labels=None if labels is None else dict(labels), request=request,
        )  # fmt: skip
        return interface_from_wire(self._call("allocate", asked))

    def attach(
        self, id: str, netns: str, *, ifname: str | None = None, request: str | None = None
    ) -> Interface:
        """Put the interface into a namespace: a path, a name under `/run/netns`, or `pid:N`."""
        asked = _given(id=id, netns=netns, ifname=ifname, request=request)
        return interface_from_wire(self._call("attach", asked))

    def detach(self, id: str, *, request: str | None = None) -> Interface:
        """Take the interface out of its namespace; it keeps its addresses and ports."""
        return interface_from_wire(self._call("detach", _given(id=id, request=request)))

    def publish(
        self, id: str, ports: Iterable[str], *, source: str | None = None, request: str | None = None
    ) -> Interface:
        """Publish port specs, all or none.

        `source` is whom the container sees: "gateway" (unless said otherwise), the client's own address from
        outside and the gateway's from elsewhere; "proxy-v2", for TCP, the gateway's always, and the client in a
        header of the PROXY protocol, version 2, before its first byte.
        """
        asked = _given(id=id, ports=_array(ports), source=source, request=request)
        return interface_from_wire(self._call("publish", asked))

    def unpublish(
        self, id: str, ports: Iterable[str] | None = None, *, request: str | None = None
    ) -> Interface:
        """Withdraw the mappings that these specs would have made, or all of them without `ports`."""
        asked = _given(id=id, ports=_array(ports), request=request)
        return interface_from_wire(self._call("unpublish", asked))

    def release(self, id: str, *, request: str | None = None) -> Released:
        """Give back all the interface has; that there is none is no error."""
        return value_from_wire(Released, self._call("release", _given(id=id, request=request)))

    def inspect(self, id: str) -> Interface:
        """Return one interface."""
        return interface_from_wire(self._call("inspect", {"id": id}))

    def list(self, network: str | None = None) -> builtins.list[Interface]:
        """Return all interfaces, or those of one network."""
        return interfaces_from_wire(self._call("list", _given(network=network)))

    def create_network(
        self,
        name: str,
        *,
        subnet: str | None = None,
        gateway: str | None = None,
        subnet6: str | None = None,
        gateway6: str | None = None,
        bridge: str | None = None,
        internal: bool | None = None,
        mtu: int | None = None,
        proxy: str | None = None,
        guard: str | None = None,
        request: str | None = None,
    ) -> Network:
        """Make a network; what is not named is chosen. An `internal` one has no way out.

        Without `mtu`, in bytes, packets are as large as the link of the host's default route takes them. With
        `proxy` "never" the ports published on it have no listeners: they are the kernel's alone. With `guard` "network"
        a container sends with any address of the network, and not with its own alone ("interface").
        """
        asked = _given(
            name=name, subnet=subnet, gateway=gateway, subnet6=subnet6, gateway6=gateway6,
            bridge=bridge, internal=internal, mtu=mtu, proxy=proxy, guard=guard, request=request,
        )  # fmt: skip
        return value_from_wire(Network, self._call("create_network", asked))

    def remove_network(self, name: str, *, request: str | None = None) -> Removed:
        """Remove a network that has no interfaces; that there is none is no error."""
        return value_from_wire(Removed, self._call("remove_network", _given(name=name, request=request)))

    def networks(self) -> builtins.list[Network]:
        """Return all networks."""
        return values_from_wire(Network, self._call("networks", {}))

    def tree(self) -> builtins.list[ActorInfo]:
        """Return all actors, each after its parent."""
        return values_from_wire(ActorInfo, self._call("tree", {}))

    def status(self) -> Status:
        """Return the agent in numbers."""
        return status_from_wire(self._call("status", {}))

    def why(self, port: str) -> builtins.list[Step]:
        """Follow a host port (`8080/tcp`) from the client's side to the container's listener."""
        return values_from_wire(Step, self._call("why", {"port": port}))

    def crash(self, actor: str) -> None:
        """Make that actor raise; `denied` unless the configuration says `chaos = true`."""
        self._call("crash", {"actor": actor})


def _given(**params: Any) -> dict[str, Any]:
    return {key: value for key, value in params.items() if value is not None}


def _array(ports: Iterable[str] | None) -> Any:
    # a lone string is passed on for the agent to refuse, where `list` would make specs of its letters
    return ports if ports is None or isinstance(ports, str) else list(ports)
