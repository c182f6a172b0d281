"""When listeners of new ports are opened for those outside, on a kernel in a dict."""

from __future__ import annotations

from concurrent.futures import Future

from agents import until
from agreement import actor
from moorage import Agent
from moorage.kernel.memory import MemoryKernel

NAME = "proxy:udp/0.0.0.0:5353"


def is_shut(agent: Agent) -> bool:
    """Whether the listener hears the host itself alone."""
    shut: bool = actor(agent, "proxies")._gates[NAME].is_shut
    return shut


def test_nobody_waits_where_former_connections_have_ended(agent: Agent, kernel: MemoryKernel) -> None:
    """Where there is no crowd, and nobody was turned away, a listener is open when the answer is given."""
    agent.allocate("dns", ports=["5353:53/udp"])
    assert not is_shut(agent)
    assert kernel.reclaimed == []


def test_it_is_opened_when_former_connections_have_ended(agent: Agent, kernel: MemoryKernel) -> None:
    """In a crowd the answer is given before that, and the listener is opened when it is so."""
    kernel.crowded = ended = Future()
    agent.allocate("dns", ports=["5353:53/udp"])
    assert is_shut(agent)
    assert [(flow.proto, flow.first) for flow in kernel.reclaimed] == [("udp", 5353)]
    ended.set_result(None)
    until(lambda: not is_shut(agent))


def test_it_is_opened_too_where_nobody_will_end_them(agent: Agent, kernel: MemoryKernel) -> None:
    """Whoever was to end them may end himself: his successor does it, and nobody waits for ever."""
    kernel.crowded = ended = Future()
    agent.allocate("dns", ports=["5353:53/udp"])
    assert ended.cancel()
    until(lambda: not is_shut(agent))


def test_what_another_waited_for_opens_nothing(agent: Agent, kernel: MemoryKernel) -> None:
    """Taken back and published again, a port waits for the end of what was there since, not before."""
    kernel.crowded = former = Future()
    agent.allocate("dns", ports=["5353:53/udp"])
    agent.unpublish("dns")
    kernel.crowded = latter = Future()
    agent.publish("dns", ["5353:53/udp"])
    former.set_result(None)
    assert agent.tree()
    agent.publish("dns", ["5354:54/udp"])  # a barrier: what the former called for has come to the loop before
    assert is_shut(agent)
    latter.set_result(None)
    until(lambda: not is_shut(agent))
