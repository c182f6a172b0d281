"""Which connections are ended when ports come and go: each walk through the kernel's table takes 10 ms."""

from __future__ import annotations

from moorage import Agent
from moorage.kernel.memory import MemoryKernel


def flushed(kernel: MemoryKernel) -> list[tuple[str, int]]:
    """Protocol and first port of what was ended since the last call."""
    flows, kernel.flushed = kernel.flushed, []
    return [(flow.proto, flow.first) for flow in flows]


def test_new_ports_end_what_would_go_on_untranslated(agent: Agent, kernel: MemoryKernel) -> None:
    """Publishing ends UDP flows from before, which would pass the mapping by, and looks for no TCP."""
    agent.allocate("web", ports=["8080:80"])
    assert flushed(kernel) == []
    agent.publish("web", ["8081:81", "5353:53/udp"])
    assert flushed(kernel) == [("udp", 5353)]


def test_ports_taken_back_end_all_their_connections(agent: Agent, kernel: MemoryKernel) -> None:
    """Taking ports back ends the connections of every protocol, and those of no other port."""
    agent.allocate("web", ports=["8080:80", "8081:81", "5353:53/udp"])
    flushed(kernel)
    agent.unpublish("web", ["8080:80"])
    assert flushed(kernel) == [("tcp", 8080)]
    agent.release("web")
    assert flushed(kernel) == [("tcp", 8081), ("udp", 5353)]


def test_a_restarted_mapper_ends_connections_too(agent: Agent, kernel: MemoryKernel) -> None:
    """What a port mapper that was restarted takes back, it ends like one that published it."""
    agent.allocate("web", ports=["8080:80"])
    agent.crash("port-mapper")
    agent.unpublish("web")
    assert flushed(kernel) == [("tcp", 8080)]


def cleared(kernel: MemoryKernel) -> list[tuple[str, int]]:
    """Protocol and port of what masquerading was told to leave since the last call."""
    ports, kernel.cleared = kernel.cleared, []
    return ports


def test_masquerading_leaves_what_is_published(agent: Agent, kernel: MemoryKernel) -> None:
    """It gives up each new port for the protocol that it is published for, also where another has it already."""
    agent.allocate("web", ports=["8080:80"])
    assert cleared(kernel) == [("tcp", 8080)]
    agent.allocate("dns", ports=["8080:53/udp"])
    assert cleared(kernel) == [("udp", 8080)]
    agent.publish("web", ["8081-8082:81-82/sctp"])
    assert cleared(kernel) == [("sctp", 8081), ("sctp", 8082)]
    agent.unpublish("web")
    agent.release("dns")
    assert cleared(kernel) == []
