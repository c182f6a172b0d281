"""The actor of the links: how often it looks, and that it repairs."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from agreement import StartAgent
from moorage.kernel.memory import MemoryKernel, MemoryLinks
from moorage.kernel.protocol import Reconciled
from moorage.values import Interface, Network


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """An entry for each time that the links are compared with the journal: how many interfaces there were."""
    seen: list[int] = []
    reconcile = MemoryLinks.reconcile

    def counting(
        self: MemoryLinks, networks: Collection[Network], interfaces: Collection[Interface]
    ) -> Reconciled:
        seen.append(len(interfaces))
        return reconcile(self, networks, interfaces)

    monkeypatch.setattr(MemoryLinks, "reconcile", counting)
    return seen


def test_a_burst_of_changes_costs_one_look(
    start_agent: StartAgent, kernel: MemoryKernel, looks: list[int]
) -> None:
    """However many changes others make at once, the links are compared with the journal once, and put right."""
    agent = start_agent()
    with agent.subscribe(["repaired"]) as events:
        looks.clear()
        for _ in range(50):
            kernel.disturb()
            agent.hello()  # a while, in which a look could have begun
        told = next(event for event in events if "bridge" in event["what"])

    assert told["what"] == "bridge moorage0 was missing"
    assert kernel.bridges.keys() == {"moorage0"}
    assert len(looks) == 1
