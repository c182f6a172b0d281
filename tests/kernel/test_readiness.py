"""What was set up is ready when it is said to be: nothing that is sent then is lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_links import NETWORK4, HostLinks
from moorage.kernel.linux import readiness
from moorage.kernel.linux.purse import Purse
from moorage.kernel.linux.readiness import await_forwarding, await_sending


class Script:
    """Tells of a port and its bridge what a look each finds; the last look for good."""

    def __init__(self, *looks: dict[str, Any]) -> None:
        self._looks: Iterator[dict[str, Any]] = iter(looks)
        self._last: dict[str, Any] = {}
        self.left = len(looks)

    def link(self, name: str) -> Any:
        if name == "port":
            self._last = next(self._looks, self._last)
            self.left = max(0, self.left - 1)
            return SimpleNamespace(forwarding=self._last["forwards"])
        return SimpleNamespace(sends=self._last["sends"])

    def link_at(self, _index: int) -> Any:
        self.link("port")
        return self.link("bridge")


def test_a_port_is_waited_for_and_its_bridge() -> None:
    """Until both are ready, in whichever order they come."""
    for first in ({"forwards": False, "sends": True}, {"forwards": True, "sends": False}):
        script: Any = Script(first, first, {"forwards": True, "sends": True})
        await_forwarding(script, "port", "bridge")
        assert script.left == 0


def test_a_link_is_waited_for() -> None:
    """Until it sends."""
    script: Any = Script({"forwards": True, "sends": False}, {"forwards": True, "sends": True})
    await_sending(script, 2)
    assert script.left == 0


def test_what_does_not_come_is_waited_for_for_so_long_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Links that are held down take what the purse has, and then next to nothing each; those that come take none."""
    purse = Purse(most=0.5, share=1e-9)
    monkeypatch.setattr(readiness, "_purse", purse)
    comes: Any = Script({"forwards": True, "sends": False}, {"forwards": True, "sends": True})
    await_sending(comes, 2)
    assert purse.left() == 0.5
    for left in (0.3, 0.1, 0.0, -0.01, -0.02):
        await_sending(never(), 2)
        assert purse.left() == pytest.approx(left, abs=1e-6)


def never() -> Any:
    return Script({"forwards": True, "sends": False})


@pytest.mark.system
@pytest.mark.parametrize("source", ["host", "container"])
def test_a_fresh_network_loses_nothing(links: HostLinks, source: str) -> None:
    """The first packet after the first container was attached arrives, either way: nobody has to send it again."""
    for number in range(10):
        name, start = f"c{number}", f"10.50.{number}"
        network = replace(
            NETWORK4, name=name, bridge=f"mg{number}", subnet=f"{start}.0/24", gateway=f"{start}.1"
        )
        web = replace(
            links.interface(name, number, network=name, ipv6=None, prefix6=None, gateway6=None),
            ip=f"{start}.2",
            gateway=network.gateway,
        )
        client, server, ip = ("host", name, web.ip) if source == "host" else (name, "host", web.gateway)
        with closing(links.lab.echo_server(server, "tcp", 80)):
            links.ensure_network(network)
            links.attach(web, network)
            assert links.lab.connect(client, (ip, 80)).server == server
        assert links.lab.call(client, waited) == 0
        links.detach(web.id)
        links.remove_network(network)
        links.lab.remove(name)  # the kernel is busy with what is gone


def waited() -> int:
    """How often TCP waited in vain for an answer in this namespace, ever."""
    lines = [line.split() for line in Path("/proc/thread-self/net/netstat").read_text().splitlines()]
    names, numbers = (line for line in lines if line[0] == "TcpExt:")
    return int(numbers[names.index("TCPTimeouts")])
