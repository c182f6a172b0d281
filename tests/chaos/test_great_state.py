"""A state that an earlier version wrote, with more labels than may be given now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from ipaddress import ip_address

import pytest

from agents import AgentProcess
from chaos.crowds import bounded, connect, request, send_all
from chaos.processes import memory
from lab import Lab
from moorage.control.context import uptime
from moorage.kernel.memory import MemoryKernel
from moorage.model.interfaces import mac_of
from moorage.store import Commit, PutInterface, PutNetwork, Store
from moorage.values import Interface, Network

pytestmark = pytest.mark.system

LONG = bool(os.environ.get("MOORAGE_SOAK_MINUTES"))
COUNT = 275 if LONG else 60
LABELS = {f"k{number}": "x" * 4096 for number in range(256)}
SIZE = 1 << 20
"""Bytes of these labels."""
START = 8.0
"""Seconds until the agent is ready again, on two cores that others use as well; reading all once takes three."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent on such a state."""
    directory = tmp_path_factory.mktemp("great")
    store = Store.open(directory / "state", MemoryKernel().boot_id(), uptime)
    store.commit([Commit((PutNetwork(Network("default", "moorage0", "10.0.0.0/16", "10.0.0.1")),))])
    for number in range(COUNT):
        store.commit([Commit((PutInterface(_made(number)),))])
    store.close()
    with Lab() as lab, AgentProcess(lab, directory, kernel="memory", subnet="10.0.0.1/16") as agent:
        yield agent


def _made(number: int) -> Interface:
    ip = str(ip_address("10.0.1.0") + number)
    return Interface(f"i{number}", "default", ip, 16, "10.0.0.1", mac_of(ip), "", labels=LABELS)


def test_all_of_it_is_served(agent: AgentProcess) -> None:
    """What is beyond today's bounds is told whole, one by one and as a list, however long."""
    listed = agent.client.list()
    assert len(listed) == COUNT
    assert all(each.labels == LABELS for each in listed)
    assert agent.client.inspect("i7").labels == LABELS
    assert agent.client.publish("i7", ["80"]).labels == LABELS


def test_lists_cost_no_more_than_pieces(agent: AgentProcess) -> None:
    """Ever so many lists of it that nobody reads are made piece by piece, as one that is read is."""
    with ExitStack() as stack, bounded(agent):
        for _ in range(20):
            send_all(connect(agent, stack), request("list") * 100)
        assert len(agent.client.list()) == COUNT


def test_a_start_reads_it_once(agent: AgentProcess) -> None:
    """An agent on that state is ready soon, and holds it once."""
    began = time.monotonic()
    agent.replace()
    assert time.monotonic() - began < START
    assert memory(agent.pid) < 1.5 * COUNT * SIZE + (100 << 20)
