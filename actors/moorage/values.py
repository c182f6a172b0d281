"""What users are given: interfaces, networks and mappings, as frozen values."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field

ANY = "0.0.0.0"  # noqa: S104 - how a mapping on every address of the host is written, not an address bound

GATEWAY, PROXY_V2, TRANSPARENT = SOURCES = ("gateway", "proxy-v2", "transparent")
"""Whom a container sees that a mapping's clients come from; see `Mapping.source`."""

ALWAYS, NEVER = PROXIES = ("always", "never")
"""Whether the ports of a network's interfaces have listeners beside the rules of the kernel; see `Network.proxy`."""

ALONE, SHARED = GUARDS = ("interface", "network")
"""Which addresses a container may send with, itself being known by its MAC; see `Network.guard`."""


@dataclass(frozen=True, slots=True)
class Mapping:
    """One published port, or a run of `count` consecutive ones.

    Host port `host_port + i` leads to container port `container_port + i` for `0 <= i < count`.
    """

    proto: str
    host_ip: str
    host_port: int
    container_port: int
    count: int = 1
    dual: bool = field(default=False, repr=False)
    """True for "any": every address of the host of both families; `host_ip` is then "0.0.0.0"."""
    source: str = GATEWAY
    """Whom the container sees: the client where the kernel carries it from outside, else its gateway ("gateway"); or
    its gateway always, and the client in a header of the PROXY protocol, version 2 ("proxy-v2")."""

    @property
    def key_ip(self) -> str:
        """The host address as collisions see it: "" for any of both families."""
        return "" if self.dual else self.host_ip

    def __str__(self) -> str:
        last = f"-{self.container_port + self.count - 1}" if self.count > 1 else ""
        return f"{self.name}->{self.container_port}{last}"

    @property
    def proxied(self) -> bool:
        """Whether all its connections go through the proxy, and none by the rules of the kernel."""
        return self.source != GATEWAY

    @property
    def name(self) -> str:
        """`tcp/0.0.0.0:8080`, `tcp/[::1]:8080`, `udp/0.0.0.0:8000-8009`."""
        host = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        last = f"-{self.host_port + self.count - 1}" if self.count > 1 else ""
        return f"{self.proto}/{host}:{self.host_port}{last}"


@dataclass(frozen=True, slots=True)
class Network:
    """A bridge with its subnets. `subnet` is `10.0.42.0/24`, `gateway` an address inside it."""

    name: str
    bridge: str
    subnet: str
    gateway: str
    subnet6: str | None = None
    gateway6: str | None = None
    internal: bool = False
    mtu: int = 1500
    adopted: bool = field(default=False, repr=False)
    """The bridge was there before us, and stays when we go. Not on the wire."""
    proxy: str = ALWAYS
    """Whether published ports have listeners, which hold them and serve what the kernel does not ("always"), or are
    the kernel's alone ("never")."""
    guard: str = ALONE
    """Which addresses its containers may send with: their own alone ("interface"), or any of its own ("network")."""
    owner: int | None = field(default=None, repr=False)
    """The uid that made it; None for those that the agent trusts. Not on the wire."""


@dataclass(frozen=True, slots=True)
class Interface:
    """One container's place on a network. `netns` and `ifname` are None while it is not attached."""

    id: str
    network: str
    ip: str
    prefix: int
    gateway: str
    mac: str
    created: str
    ipv6: str | None = None
    prefix6: int | None = None
    gateway6: str | None = None
    netns: str | None = None
    ifname: str | None = None
    ports: tuple[Mapping, ...] = ()
    labels: MappingABC[str, str] = field(default_factory=dict)
    netns_cookie: int = field(default=0, repr=False)
    """The cookie of the network namespace attached to, which the kernel gives to no other until it boots: a path and an
    inode are given again. 0 while not attached, and where it is not known. Not on the wire."""
    attached: int = field(default=0, repr=False)
    """When it was attached, in milliseconds of `control.context.uptime`; 0 while it is not. Its link says so too, by
    which a state that is older than the link is found out. Not on the wire."""
    owner: int | None = field(default=None, repr=False)
    """The uid that last had it take something; None for those that the agent trusts. Not on the wire."""


@dataclass(frozen=True, slots=True)
class Hello:
    """Who answers: the agent's version, the version of what it understands, its process, and since when."""

    name: str
    version: str
    api: int
    pid: int
    started: str


@dataclass(frozen=True, slots=True)
class Released:
    """Whether `release` found something to release; true in a condition if it did."""

    released: bool

    def __bool__(self) -> bool:
        return self.released


@dataclass(frozen=True, slots=True)
class Removed:
    """Whether `remove_network` found a network to remove; true in a condition if it did."""

    removed: bool

    def __bool__(self) -> bool:
        return self.removed


@dataclass(frozen=True, slots=True)
class ActorInfo:
    """One actor of the tree. `parent` is None for the root; `mailbox` counts the messages that wait."""

    name: str
    parent: str | None
    kind: str
    state: str
    restarts: int
    mailbox: int
    since: str


@dataclass(frozen=True, slots=True)
class Status:
    """The agent in numbers; `kernel` is "linux" or "memory", `repaired` counts what was put right.

    `warnings` has a sentence for each thing of the host that stands in the way of traffic at this moment.
    """

    networks: int
    interfaces: int
    mappings: int
    proxies: int
    kernel: str
    restarts: int
    repaired: int
    started: str
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """One step on a port's way from the client to the container's listener, and whether it is sound."""

    step: str
    ok: bool
    text: str
