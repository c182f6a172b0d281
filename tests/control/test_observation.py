"""What can be seen of an agent: events, tree, status."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import pytest

from moorage import Agent, Refused
from moorage.kernel.memory import MemoryKernel
from moorage.version import VERSION

pytestmark = pytest.mark.system

WEB_80 = {"proto": "tcp", "host_ip": "0.0.0.0", "host_port": 8080, "container_port": 80, "count": 1}  # noqa: S104


@contextmanager
def collected(agent: Agent, *names: str) -> Iterator[list[dict[str, Any]]]:
    """Give the events of these names, or of all, that happen in the block, once it is over."""
    events: list[dict[str, Any]] = []
    with agent.subscribe(names or None) as stream:
        yield events
        agent.create_network("last-of-all")
        ours = takewhile(lambda event: event.get("network") != "last-of-all", stream)
        events.extend({key: value for key, value in event.items() if key != "time"} for event in ours)


def test_events_say_what_they_are_about(agent: Agent) -> None:
    """Every change is told once, in order, with what it is about."""
    with collected(agent) as events:
        agent.create_network("back")
        agent.allocate("web", network="back", ports=["8080:80"])
        agent.unpublish("web")
        agent.publish("web", ["8080:80"])
        agent.release("web")
        agent.remove_network("back")
    about = {"id": "web", "network": "back"}
    assert events == [
        {"event": "network_created", "network": "back"},
        {"event": "interface_allocated", **about},
        {"event": "mapping_published", **about, "mapping": WEB_80},
        {"event": "mapping_unpublished", **about, "mapping": WEB_80},
        {"event": "mapping_published", **about, "mapping": WEB_80},
        {"event": "mapping_unpublished", **about, "mapping": WEB_80},
        {"event": "interface_released", **about},
        {"event": "network_removed", "network": "back"},
    ]


def test_what_changes_nothing_is_no_event(agent: Agent) -> None:
    """Refusals, repeats and questions are not told."""
    agent.allocate("web", ports=["8080:80"], request="r1")
    with collected(agent) as events:
        agent.allocate("web", ports=["8080:80"], request="r1")
        agent.allocate("web")
        agent.publish("web", ["8080:80"])
        agent.release("ghost")
        with pytest.raises(Refused):
            agent.allocate("db", ports=["8080:80"])
        agent.list()
    assert events == []


def test_events_have_a_time(agent: Agent) -> None:
    """The time of an event is an RFC 3339 string in UTC."""
    with agent.subscribe(["interface_allocated"]) as stream:
        agent.allocate("web")
        assert next(stream)["time"].endswith("Z")


def test_a_subscriber_gets_what_it_asked_for(agent: Agent) -> None:
    """A stream has events of the names asked for, restarts and repairs among them; an unknown name is refused."""
    with agent.subscribe(["actor_restarted", "repaired"]) as stream:
        agent.allocate("web")
        agent.crash("tcp-ports")
        event = next(stream)
        assert (event["event"], event["actor"]) == ("actor_restarted", "tcp-ports")
        assert "told to crash" in event["reason"]
        agent._context.kernel.disturb()  # type: ignore[union-attr]  # a MemoryKernel
        assert next(stream)["event"] == "repaired"
    with pytest.raises(Refused, match="nonsense") as refused:
        agent.subscribe(["nonsense"])
    assert refused.value.code == "invalid"


def test_a_stream_ends_when_it_is_closed(agent: Agent) -> None:
    """A closed stream gives what it has and ends, as often as it is asked, even with very much unread."""
    stream = agent.subscribe()
    agent.allocate("web")
    stream.close()
    stream.close()
    assert [event["event"] for event in stream] == ["interface_allocated"]
    assert list(stream) == []


def test_a_subscriber_that_does_not_read_is_dropped(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that is left unread ends where it was dropped, and close does not wait for a reader."""
    monkeypatch.setattr("moorage.agent.EVENTS", 4)
    stream = agent.subscribe()
    for _ in range(3):
        agent.allocate("web", ports=["80"])
        agent.release("web")
    assert len(list(stream)) == 4
    stream.close()


def test_a_stream_ends_with_the_agent(agent: Agent) -> None:
    """When the agent stops, whoever waits for events is woken."""
    stream = agent.subscribe()
    agent.stop()
    assert list(stream) == []
    stream.close()


def test_the_tree_is_as_documented(agent: Agent) -> None:
    """The tree names every actor with its parent and kind, each after its parent."""
    agent.create_network("back", subnet="10.0.43.1/24")
    agent.allocate("web", ports=["8080:80", "[::1]:53:53/udp", "8000-8009:9000-9009/udp"])
    tree = agent.tree()
    assert {each.name: (each.parent, each.kind) for each in tree} == {
        "root": (None, "supervisor"),
        "journal": ("root", "worker"),
        "allocators": ("root", "supervisor"),
        **{f"{proto}-ports": ("allocators", "worker") for proto in ("tcp", "udp", "sctp")},
        "ip:default": ("allocators", "worker"),
        "ip:back": ("allocators", "worker"),
        "port-mapper": ("root", "worker"),
        "links": ("root", "worker"),
        "proxies": ("root", "supervisor"),
        "proxy:tcp/0.0.0.0:8080": ("proxies", "worker"),
        "proxy:udp/[::1]:53": ("proxies", "worker"),
        "proxy:udp/0.0.0.0:8000-8009": ("proxies", "worker"),
        "interfaces": ("root", "supervisor"),
        "interface:web": ("interfaces", "worker"),
        "gateway": ("root", "worker"),
    }
    names = [each.name for each in tree]
    assert all(each.parent is None or names.index(each.parent) < names.index(each.name) for each in tree)
    assert {(each.state, each.restarts) for each in tree} == {("running", 0)}


def test_the_status_counts(agent: Agent, kernel: MemoryKernel) -> None:
    """The status has the agent in numbers, restarts and repairs among them."""
    agent.allocate("web", ports=["8080:80", "8000-8009:9000-9009/udp"])
    with agent.subscribe(["actor_restarted", "repaired"]) as stream:
        agent.crash("links")
        next(stream)
        kernel.disturb()
        next(stream)
    status = agent.status()
    assert (status.networks, status.interfaces, status.mappings, status.proxies) == (1, 1, 2, 2)
    assert (status.kernel, status.restarts) == ("memory", 1)
    assert status.repaired >= 1
    hello = agent.hello()
    assert (hello.name, hello.version, hello.api, hello.started) == ("moorage", VERSION, 1, status.started)


def test_crash_is_for_chaos_only(start_agent: Any) -> None:
    """`crash` is denied unless configured, and names an actor that is not there."""
    agent = start_agent()
    with pytest.raises(Refused, match="nobody") as refused:
        agent.crash("nobody")
    assert refused.value.code == "not_found"
    agent.stop()
    with pytest.raises(Refused, match="chaos") as refused:
        start_agent(chaos=False).crash("links")
    assert refused.value.code == "denied"
