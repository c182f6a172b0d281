"""LinuxLinks in a lab's host, from the one thread it belongs to, and the values that tests attach with it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, TypeVar

from lab import Lab
from moorage.kernel.linux import netns
from moorage.kernel.linux.links import LinuxLinks
from moorage.kernel.protocol import Namespace
from moorage.model.caller import Caller
from moorage.values import Interface, Network

T = TypeVar("T")

NETWORK = Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1", "fd42::/64", "fd42::1")
NETWORK4 = replace(NETWORK, subnet6=None, gateway6=None)


class HostLinks:
    """Every method of LinuxLinks, run in a thread inside the lab's host; `remembered` is what it was told."""

    def __init__(self, lab: Lab, clock: Callable[[], float] = time.monotonic) -> None:
        self.lab = lab
        self.remembered: dict[str, str] = {}
        self._thread = ThreadPoolExecutor(1, initializer=_enter, initargs=(lab.path("host"),))
        self._links = self.run(LinuxLinks, self.remembered, clock)

    def run(self, function: Callable[..., T], *args: Any) -> T:
        """Run `function` in that thread."""
        return self._thread.submit(function, *args).result(30)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._links, name)
        return lambda *args: self.run(method, *args)

    def stop(self) -> None:
        """Close the links and end the thread."""
        self.run(self._links.close)
        self._thread.shutdown()

    def ip(self, *arguments: str, inside: str = "host") -> str:
        """What `ip` with these arguments says there."""
        return self.lab.run(inside, ["ip", *arguments])

    def interface(self, name: str, last: int, **changes: Any) -> Interface:
        """An interface for a new container of the lab called `name`, at 10.0.42.`last` and fd42::`last`."""
        path = self.lab.container(name)
        made = Interface(
            id=name,
            network=NETWORK.name,
            ip=f"10.0.42.{last}",
            prefix=24,
            gateway=NETWORK.gateway,
            mac=f"02:42:0a:00:2a:{last:02x}",
            created="",
            ipv6=f"fd42::{last:x}",
            prefix6=64,
            gateway6=NETWORK.gateway6,
            netns=path,
            ifname="eth0",
            netns_cookie=cookie_at(path),
        )
        return replace(made, **changes)

    def attached(self, name: str, last: int, network: Network = NETWORK) -> Interface:
        """The same, attached, with echo servers on TCP and UDP port 80."""
        made = self.interface(name, last)
        self.attach(made, network)
        for proto in ("tcp", "udp"):
            self.lab.echo_server(name, proto, 80)
        return made


def cookie_at(path: str) -> int:
    """The cookie of the namespace at a path."""
    with netns.opened(path) as fd:
        return netns.cookie_of(fd)


def find_namespace(named: str, caller: Caller | None = None) -> Namespace:
    """As an agent finds it: a file system is asked on a thread that ends then."""
    if (found := netns.find(named, caller)) is not None:
        return found
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(netns.search, named, caller).result()


def _enter(path: str) -> None:
    with netns.opened(path) as fd:
        netns.setns(fd)
