"""Real agents, one without a kernel and one with, that every test leaves as it found them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from agents import AgentProcess
from contract.wire import Wire
from lab import Lab

SUBNET = "10.0.42.1/24"


@pytest.fixture(scope="session")
def memory_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent on the kernel in a dict, in a lab of its own."""
    directory = tmp_path_factory.mktemp("memory")
    with Lab() as lab, AgentProcess(lab, directory, kernel="memory", subnet=SUBNET) as agent:
        yield agent


@pytest.fixture(scope="session")
def linux_agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent on the real kernel, in a lab of its own."""
    directory = tmp_path_factory.mktemp("linux")
    with Lab() as lab, AgentProcess(lab, directory, subnet=SUBNET) as agent:
        yield agent


@pytest.fixture
def wire(memory_agent: AgentProcess) -> Iterator[Wire]:
    """A connection to the agent without a kernel, which has its default network and nothing else."""
    with connected(memory_agent) as wire:
        yield wire


@pytest.fixture
def linux(linux_agent: AgentProcess) -> Iterator[Wire]:
    """A connection to the agent on the real kernel, which has its default network and nothing else."""
    with connected(linux_agent) as wire:
        yield wire


@contextmanager
def connected(agent: AgentProcess) -> Iterator[Wire]:
    """Connect, and take away afterwards whatever was made."""
    with Wire(agent.socket) as wire:
        yield wire
    with Wire(agent.socket) as wire:
        for interface in wire.call("list"):
            wire.call("release", id=interface["id"])
        for network in wire.call("networks"):
            if network["name"] != "default":
                wire.call("remove_network", name=network["name"])
