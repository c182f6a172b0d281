"""The source of a mapping: recorded, compared, kept, and refused where it cannot be."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agreement import StartAgent, assert_agreement
from moorage import Agent, Refused
from moorage.kernel.memory import MemoryKernel
from moorage.model.elements import is_published

pytestmark = pytest.mark.system

PROXY = "proxy-v2"


def sources(agent: Agent) -> list[str]:
    return [each.source for each in agent.inspect("web").ports]


def test_a_source_is_recorded_and_leaves_nothing_to_the_kernel(agent: Agent, kernel: MemoryKernel) -> None:
    """All specs of a request have its source, those of another request theirs; proxied ones have no rules."""
    agent.allocate("web", ports=["8080:80", "8100-8109:8100-8109", "81"], source=PROXY)
    assert [each for each in kernel.elements if is_published(each)] == []
    agent.publish("web", ["8090:80", "53/udp"])
    assert sources(agent) == [PROXY] * 3 + ["gateway"] * 2
    assert sum(map(is_published, kernel.elements)) == 2
    assert_agreement(agent)


@pytest.fixture
def container() -> Iterator[socket.socket]:
    """Something that listens at port 80 of the first address of the default network."""
    address = ["10.0.42.2/32", "dev", "lo"]
    subprocess.run(["ip", "address", "add", *address], check=True)
    with socket.create_server(("10.0.42.2", 80)) as made:
        made.settimeout(5)
        yield made
    subprocess.run(["ip", "address", "delete", *address], check=True)


def test_the_proxy_of_a_kernel_in_a_dict_tells_it(agent: Agent, container: socket.socket) -> None:
    """Without a rule or a privilege the header is there as well, for a client of either family."""
    agent.allocate("web", ports=["8080:80"], source=PROXY)
    for host, family in (("127.0.0.1", 0x11), ("::1", 0x21)):
        with socket.create_connection((host, 8080)) as client:
            client.sendall(b"hello")
            client.shutdown(socket.SHUT_WR)
            with container.accept()[0] as accepted, accepted.makefile("rb") as stream:
                header = stream.read(16)
                assert (header[12:14], stream.read()[-5:]) == (bytes([0x21, family]), b"hello")


@pytest.mark.parametrize("loss", ["stop", "interface:web", "proxies", "journal"])
def test_a_source_is_kept(start_agent: StartAgent, loss: str) -> None:
    """After a new start, and whoever crashes, it is what it was."""
    agent = start_agent()
    agent.allocate("web", ports=["8080:80"], source=PROXY)
    if loss == "stop":
        agent.stop()
        agent = start_agent()
    else:
        with agent.subscribe(["actor_restarted"]) as events:
            agent.crash(loss)
            assert next(events)["actor"] == loss
    assert sources(agent) == [PROXY]
    assert_agreement(agent)


@pytest.mark.parametrize("there", ["gateway", PROXY])
def test_the_same_again_changes_nothing(agent: Agent, there: str) -> None:
    """A fixed port that is published with that source is published already; an automatic one is another."""
    web = agent.allocate("web", ports=["8080:80"], source=there)
    assert agent.publish("web", ["8080:80"], source=there) == web
    assert agent.allocate("web", ports=["8080:80"], source=there) == web
    assert len(agent.publish("web", ["80"], source=there).ports) == 2


@pytest.mark.parametrize(("there", "asked"), [("gateway", PROXY), (PROXY, "gateway"), (PROXY, None)])
def test_another_source_is_refused(agent: Agent, there: str, asked: str | None) -> None:
    """A port that is published with another source is refused by name, with all the rest of its request."""
    before = agent.allocate("web", ports=["8080:80"], source=there)
    with pytest.raises(
        Refused, match=f"web publishes 8080:80 with source {there} already: unpublish"
    ) as refused:
        agent.publish("web", ["8081:81", "8080:80"], source=asked)
    assert refused.value.code == "exists"
    with pytest.raises(Refused, match="no mapping 8080:80"):
        agent.allocate("web", ports=["8080:80"], source=asked)
    with pytest.raises(Refused, match="web holds") as refused:
        agent.allocate("other", ports=["8080:80"], source=asked)
    assert refused.value.code == "port_in_use"
    assert agent.inspect("web") == before
    agent.unpublish("web", ["8080:80"])
    agent.publish("web", ["8080:80"], source=asked)
    assert_agreement(agent)


REFUSED: dict[str, tuple[str, Callable[[Agent], Any]]] = {
    "udp": ("invalid", lambda agent: agent.publish("web", ["81:81", "53/udp"], source=PROXY)),
    "sctp": ("invalid", lambda agent: agent.allocate("new", ports=["9/sctp"], source=PROXY)),
    "transparent": ("unsupported", lambda agent: agent.publish("web", ["81:81"], source="transparent")),
    "unknown": ("invalid", lambda agent: agent.publish("web", ["81:81"], source="proxy-v1")),
    "without proxies": ("unsupported", lambda agent: agent.publish("bare", ["81:81"], source=PROXY)),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_is_refused(agent: Agent, what: str) -> None:
    """Other protocols than TCP, a source that is not there, and a network without proxies; nothing is changed."""
    agent.create_network("bare", proxy="never")
    agent.allocate("bare", network="bare")
    before = agent.allocate("web"), agent.inspect("bare")
    code, attempt = REFUSED[what]
    with pytest.raises(Refused) as refused:
        attempt(agent)
    assert refused.value.code == code
    assert (agent.inspect("web"), agent.inspect("bare")) == before
    assert_agreement(agent)


def test_a_request_is_told_by_its_source_too(agent: Agent) -> None:
    """The same request string with another source is another request."""
    agent.allocate("web")
    first = agent.publish("web", ["8080:80"], source=PROXY, request="r")
    assert agent.publish("web", ["8080:80"], source=PROXY, request="r") == first
    with pytest.raises(Refused) as refused:
        agent.publish("web", ["8080:80"], request="r")
    assert refused.value.code == "exists"
