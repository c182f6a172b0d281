"""What the journal gave to one while an allocator that had just restarted promised it to another."""

from __future__ import annotations

from typing import Any

import pytest

from agreement import pools_of
from moorage import Agent
from moorage.control import ip_allocator, port_allocator
from moorage.model.port_table import HostPorts
from moorage.supervision.directory import Address

pytestmark = pytest.mark.system

PORT = HostPorts("", 9000, 1)
IP = "10.0.42.9"


def ask(agent: Agent, name: str, message: Any) -> Any:
    assert agent._context is not None
    return Address(agent._context.directory, name).ask(message).wait()


def test_a_recorded_port_is_its_owners_once_the_other_gives_it_back(agent: Agent) -> None:
    """A port promised to one and recorded for another is the other's when the first gives it back."""
    ask(agent, "tcp-ports", port_allocator.Reserve("db", (PORT,)))
    ask(agent, "tcp-ports", port_allocator.Settle("web", (PORT,)))
    assert pools_of(agent) == {("tcp", "", 9000, 1, "db")}
    ask(agent, "tcp-ports", port_allocator.Release("db", (PORT,)))
    assert pools_of(agent) == {("tcp", "", 9000, 1, "web")}


def test_a_recorded_address_is_its_owners_once_the_other_gives_it_back(agent: Agent) -> None:
    """An address promised to one and recorded for another is the other's when the first gives it back."""
    ask(agent, "ip:default", ip_allocator.Acquire("db", IP))
    ask(agent, "ip:default", ip_allocator.Settle("web", (IP,)))
    assert pools_of(agent) == {("default", IP, "db")}
    ask(agent, "ip:default", ip_allocator.Settle("db"))
    assert pools_of(agent) == {("default", IP, "web")}


def test_a_claim_ends_when_it_is_given_back(agent: Agent) -> None:
    """Who gave back what was promised to another gets it no more."""
    ask(agent, "tcp-ports", port_allocator.Reserve("db", (PORT,)))
    ask(agent, "tcp-ports", port_allocator.Settle("web", (PORT,)))
    ask(agent, "tcp-ports", port_allocator.Release("web", (PORT,)))
    ask(agent, "tcp-ports", port_allocator.Release("db", (PORT,)))
    ask(agent, "ip:default", ip_allocator.Acquire("db", IP))
    ask(agent, "ip:default", ip_allocator.Settle("web", (IP,)))
    ask(agent, "ip:default", ip_allocator.Settle("web"))
    ask(agent, "ip:default", ip_allocator.Release("db", (IP,)))
    assert pools_of(agent) == set()
