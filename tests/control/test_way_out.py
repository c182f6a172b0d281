"""Publishing the ephemeral range."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from moorage import Agent, Refused
from moorage.kernel.linux import reserved

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")


@pytest.fixture(autouse=True)
def _nobodys() -> Iterator[None]:
    """A range that no connection of another test has gone out from."""
    before = RANGE.read_text()
    RANGE.write_text("24000 25999")
    yield
    RANGE.write_text(before)


def half() -> tuple[range, int]:
    """The ports that this namespace's connections go out from, and how many of them may be published."""
    ports = reserved.ephemeral()
    return ports, (len(ports) - reserved.count(ports)) // 2


def run(first: int, count: int, proto: str) -> str:
    return f"{first}-{first + count - 1}:{first}-{first + count - 1}/{proto}"


def test_no_more_than_half_in_whatever_parts(agent: Agent) -> None:
    """All of it at once is refused, and half of it taken; then one more is refused, of another protocol too."""
    ports, most = half()
    agent.create_network("net", subnet="10.1.0.0/24", proxy="never")
    agent.allocate("web", network="net")
    with pytest.raises(Refused, match="limit: ") as refused:
        agent.publish("web", [run(ports[0], len(ports), "sctp")])
    assert f"{ports[0]}-{ports[-1]}" in refused.value.text
    assert agent.inspect("web").ports == ()
    agent.publish("web", [run(ports[0], most, "sctp")])
    agent.publish("web", [run(ports[0], most, "udp")])
    with pytest.raises(Refused, match="limit: "):
        agent.publish("web", [f"{ports[0] + most}:80/udp"])
    agent.unpublish("web", [run(ports[0], most, "sctp")])
    with pytest.raises(Refused, match="limit: "):
        agent.publish("web", [f"{ports[0] + most}:80/udp"])
    agent.release("web")
    agent.allocate("web", network="net", ports=[f"{ports[0] + most}:80/udp"])


def test_many_at_once_have_no_more(agent: Agent) -> None:
    """Requests that come together, of several protocols, are judged one after the other."""
    ports, most = half()
    agent.create_network("net", subnet="10.1.0.0/24", proxy="never")
    step = most // 4

    def ask(number: int) -> str:
        proto = ("tcp", "udp", "sctp")[number % 3]
        try:
            agent.allocate(f"c{number}", network="net", ports=[run(ports[0] + number * step, step, proto)])
        except Refused as refusal:
            return refusal.code
        return "done"

    with ThreadPoolExecutor(7) as pool:
        assert sorted(pool.map(ask, range(7))) == ["done"] * 4 + ["limit"] * 3
    taken = {
        port
        for each in agent.list()
        for m in each.ports
        for port in range(m.host_port, m.host_port + m.count)
    }
    assert len(taken.intersection(ports)) == 4 * step <= most
