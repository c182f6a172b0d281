"""Events over the wire: each of them once, and what they are about."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from agents import AgentProcess
from contract.wire import Wire

pytestmark = pytest.mark.system


@pytest.fixture
def told(memory_agent: AgentProcess) -> Iterator[Wire]:
    """A connection that is told of all events."""
    with Wire(memory_agent.socket) as told:
        assert told.call("subscribe") is None
        yield told


def event(told: Wire) -> dict[str, Any]:
    """The next event, without its time."""
    kind, method, params = told.receive()
    assert (kind, method, len(params)) == (2, "event", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", params[0].pop("time"))
    body: dict[str, Any] = params[0]
    return body


def test_the_life_of_an_interface(told: Wire, wire: Wire) -> None:
    """Allocating, publishing, unpublishing and releasing are told in order, with id, network and mapping."""
    web = wire.call("allocate", id="web", ports=["8080:80"])
    about = {"id": "web", "network": "default"}
    tcp = {"mapping": web["ports"][0]}
    assert event(told) == {"event": "interface_allocated", **about}
    assert event(told) == {"event": "mapping_published", **about, **tcp}
    udp = {"mapping": wire.call("publish", id="web", ports=["53/udp"])["ports"][1]}
    assert event(told) == {"event": "mapping_published", **about, **udp}
    wire.call("unpublish", id="web", ports=["8080:80"])
    assert event(told) == {"event": "mapping_unpublished", **about, **tcp}
    wire.call("release", id="web")
    assert event(told) == {"event": "mapping_unpublished", **about, **udp}
    assert event(told) == {"event": "interface_released", **about}


def test_the_life_of_a_network(told: Wire, wire: Wire) -> None:
    """A network's making and removal are told with its name."""
    wire.call("create_network", name="back", subnet="10.0.43.0/24")
    assert event(told) == {"event": "network_created", "network": "back"}
    wire.call("remove_network", name="back")
    assert event(told) == {"event": "network_removed", "network": "back"}


def test_a_restart(told: Wire, wire: Wire) -> None:
    """An actor's restart is told with its name and a reason."""
    wire.call("crash", actor="sctp-ports")
    restarted = event(told)
    assert restarted.pop("reason")
    assert restarted == {"event": "actor_restarted", "actor": "sctp-ports"}


def test_what_changes_nothing_is_not_told(told: Wire, wire: Wire) -> None:
    """Repeats, refusals and questions are no events."""
    wire.call("allocate", id="web", ports=["8080:80"], request="told-once")
    assert [event(told)["event"] for _ in range(2)] == ["interface_allocated", "mapping_published"]
    wire.call("allocate", id="web", ports=["8080:80"], request="told-once")
    wire.call("allocate", id="web")
    wire.call("publish", id="web", ports=["8080:80"])
    wire.call("detach", id="web")
    wire.refused("publish", id="web", ports=["80", "8080:81"])
    wire.call("release", id="ghost")
    wire.call("remove_network", name="ghost")
    wire.call("unpublish", id="web")
    assert event(told)["event"] == "mapping_unpublished"


def test_only_what_was_subscribed_to_is_told(memory_agent: AgentProcess, wire: Wire) -> None:
    """A subscriber names the events it wants; subscribing again replaces that; unknown names are refused."""
    with Wire(memory_agent.socket) as told:
        assert "explosion" in told.refused("subscribe", events=["explosion"])
        assert told.call("subscribe", events=["interface_released"]) is None
        wire.call("allocate", id="web", ports=["80"])
        wire.call("release", id="web")
        assert event(told)["event"] == "interface_released"
        assert told.call("subscribe", events=["mapping_published"]) is None
        wire.call("allocate", id="web", ports=["80"])
        assert event(told)["event"] == "mapping_published"


def test_attaching_detaching_and_collecting(linux_agent: AgentProcess, linux: Wire) -> None:
    """Coming and going of containers is told, also when a namespace ends by itself; a repair says what it was."""
    about = {"id": "web", "network": "default"}
    with Wire(linux_agent.socket) as told:
        netns = linux_agent.lab.container("c1")
        wanted = ["interface_attached", "interface_detached", "interface_collected", "repaired"]
        told.call("subscribe", events=wanted)
        linux.call("allocate", id="web", netns=netns)
        assert event(told) == {"event": "interface_attached", **about}
        linux.call("detach", id="web")
        assert event(told) == {"event": "interface_detached", **about}
        linux.call("attach", id="web", netns=netns)
        assert event(told) == {"event": "interface_attached", **about}
        linux_agent.lab.run("host", ["ip", "link", "set", "moorage0", "down"])
        repaired = event(told)
        assert "moorage0" in repaired.pop("what")
        assert repaired == {"event": "repaired"}
        linux_agent.lab.remove("c1")
        while (found := event(told))["event"] in {"repaired", "interface_detached"}:
            pass
        assert found == {"event": "interface_collected", **about}
        assert linux.call("list") == []
