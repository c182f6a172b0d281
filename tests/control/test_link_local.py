"""Ports on a link-local address, whatever the kernel."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents import until
from agreement import StartAgent, assert_agreement, listening
from moorage import Agent, Refused
from proxy.test_scopes import ADDRESS, address, descriptors

pytestmark = pytest.mark.system

SPEC = f"[{ADDRESS}]:8080:80"


@pytest.fixture(autouse=True)
def _there() -> Iterator[None]:
    """A host whose loopback has the address."""
    address("replace")
    yield
    address("replace")
    address("del")


def test_it_is_held_and_given_back(agent: Agent) -> None:
    """It listens and is reserved while it is published, and leaves no descriptor."""
    agent.allocate("web", ports=["8081:80"])  # which starts the data plane
    agent.unpublish("web")
    before = descriptors()
    agent.publish("web", [SPEC, f"{SPEC}/udp"])
    assert listening() == {("tcp", 8080), ("udp", 8080)}
    assert_agreement(agent)
    agent.unpublish("web")
    assert listening() == set()
    assert descriptors() == before


def test_an_address_that_is_nowhere(agent: Agent) -> None:
    """It is invalid, and leaves nothing."""
    agent.allocate("other", ports=["8081:80"])  # which starts the data plane
    agent.release("other")
    address("del")
    before = descriptors()
    with pytest.raises(Refused, match=rf"invalid: {ADDRESS} is not an address of this host"):
        agent.allocate("web", ports=[SPEC])
    assert descriptors() == before
    assert_agreement(agent)


def test_the_address_is_away_at_the_start(start_agent: StartAgent) -> None:
    """The agent starts without it, and listens when it is there."""
    first = start_agent()
    first.allocate("web", ports=[SPEC])
    first.stop()
    address("del")
    again = start_agent()
    assert [str(each) for each in again.inspect("web").ports] == [f"tcp/[{ADDRESS}]:8080->80"]
    assert listening() == set()
    address("add")
    until(lambda: listening() == {("tcp", 8080)})
    assert_agreement(again)
