"""Publishing ports and taking them back."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator

import pytest

from agreement import StartAgent, actor, assert_agreement, listening
from moorage import Agent, Interface, Refused

pytestmark = pytest.mark.system


@pytest.fixture
def foreign() -> Iterator[socket.socket]:
    """A socket that somebody else listens with, on port 9000 of every address."""
    with socket.socket() as made:
        made.bind(("0.0.0.0", 9000))  # noqa: S104 - "any" is what is tested
        made.listen()
        yield made


def told(interface: Interface) -> list[str]:
    return [str(mapping) for mapping in interface.ports]


def test_ports_are_published_in_their_order(agent: Agent) -> None:
    """Every spec becomes one mapping, in the order asked for, and listens."""
    agent.allocate("web")
    web = agent.publish("web", ["8080:80", "53/udp", "127.0.0.1::81", "[::1]:8082:82", "8100-8103:9100-9103"])
    assert told(web) == [
        "tcp/0.0.0.0:8080->80",
        "udp/0.0.0.0:49153->53",
        "tcp/127.0.0.1:49153->81",
        "tcp/[::1]:8082->82",
        "tcp/0.0.0.0:8100-8103->9100-9103",
    ]
    assert_agreement(agent)


def test_nothing_is_kept_of_a_port_that_is_published_no_more(agent: Agent) -> None:
    """Who publishes ever other ports makes the agent no larger."""
    agent.allocate("web")
    before = set(actor(agent, "proxies")._gates)
    for port in range(8080, 8090):
        agent.publish("web", [f"{port}:80"])
        agent.unpublish("web", [f"{port}:80"])
    assert set(actor(agent, "proxies")._gates) == before


def test_publishing_again(agent: Agent) -> None:
    """A fixed port published again changes nothing; an automatic one is another mapping."""
    agent.allocate("web")
    first = agent.publish("web", ["8080:80", "81"])
    assert agent.publish("web", ["8080:80"]) == first
    again = agent.publish("web", ["8080:80", "81"])
    assert told(again) == [*told(first), "tcp/0.0.0.0:49154->81"]
    assert_agreement(agent)


@pytest.mark.parametrize(
    ("ports", "code", "why"),
    [
        (["8080:81"], "port_in_use", "web"),
        (["127.0.0.1:8080:80"], "port_in_use", "web"),
        (["8079-8081:79-81"], "port_in_use", "web"),
        (["70", "71/udp", "8080:80"], "port_in_use", "web"),
        (["70", "71/udp", "9000:80"], "port_in_use", "pid"),
        (["70", "127.0.0.1:9000:80"], "port_in_use", "pid"),
        (["192.0.2.1:7000:80"], "invalid", "192.0.2.1"),
        (["70", "80/TCP"], "invalid", "TCP"),
        (["70", "50000-65535", "50000-65535"], "ports_exhausted", "49153-65535"),
    ],
)
def test_a_refused_batch_leaves_nothing(
    agent: Agent, foreign: socket.socket, ports: list[str], code: str, why: str
) -> None:
    """When one port of many cannot be had none is: nothing recorded, held or listening, and all is free after."""
    with_foreign = listening()
    agent.allocate("web", ports=["8080:80"])
    before = agent.allocate("db")
    with pytest.raises(Refused, match=re.escape(why)) as refused:
        agent.publish("db", ports)
    assert refused.value.code == code
    assert agent.inspect("db") == before
    assert_agreement(agent, besides=with_foreign)
    assert agent.publish("db", ["8079:70", "8081:71", "8079:71/udp"]).ports


def test_automatic_ports_step_aside(agent: Agent) -> None:
    """An automatic port passes over what somebody else of the host holds, also in the middle of a run."""
    agent.allocate("web")
    with socket.socket() as one, socket.socket() as other:
        for sock, port in ((one, 49153), (other, 49156)):
            sock.bind(("127.0.0.1", port))
            sock.listen()
        with_foreign = listening()
        web = agent.publish("web", ["80", "9000-9003"])
        assert [mapping.count for mapping in web.ports] == [1, 4]
        assert_agreement(agent, besides=with_foreign)


def test_automatic_ports_pass_over_reserved_ones(agent: Agent) -> None:
    """An automatic port is none that the kernel was told to reserve, except by us."""
    agent._context.kernel.reserved = frozenset({49153, 49155})  # type: ignore[union-attr]  # a MemoryKernel
    agent.allocate("web")
    assert [m.host_port for m in agent.publish("web", ["80", "81"]).ports] == [49154, 49156]


def test_ports_can_be_exhausted(start_agent: StartAgent) -> None:
    """With no port left in the range the next is refused at once; a freed one is given again, per protocol."""
    agent = start_agent(port_range="50000-50003")
    agent.allocate("web", ports=["80"] * 4)
    agent.allocate("dns", ports=["53/udp"] * 4)
    with pytest.raises(Refused, match="50000-50003") as refused:
        agent.allocate("db", ports=["80"])
    assert refused.value.code == "ports_exhausted"
    assert agent.allocate("db", ports=["49999:80"]).ports[0].host_port == 49999
    agent.unpublish("web", ["50002:80"])
    assert agent.publish("db", ["81"]).ports[-1].host_port == 50002
    assert_agreement(agent)


def test_ports_held_by_others_can_exhaust_the_range(start_agent: StartAgent) -> None:
    """Where others hold every port of the range, an automatic one is refused and nothing is left behind."""
    agent = start_agent(port_range="50000-50002")
    agent.allocate("web")
    with socket.create_server(("127.0.0.1", 50000)), socket.create_server(("127.0.0.1", 50002)):
        with_foreign = listening()
        with pytest.raises(Refused) as refused:
            agent.publish("web", ["80-81"])
        assert refused.value.code == "ports_exhausted"
        assert_agreement(agent, besides=with_foreign)


def test_unpublishing(agent: Agent) -> None:
    """A spec names the mappings that it would have made, an automatic port standing for any."""
    agent.allocate("web", ports=["8080:80", "80", "80", "53/udp", "8100-8103:9100-9103"])
    assert told(agent.unpublish("web", ["8080:80"]))[0] == "tcp/0.0.0.0:49153->80"
    assert told(agent.unpublish("web", ["80"])) == [
        "udp/0.0.0.0:49153->53",
        "tcp/0.0.0.0:8100-8103->9100-9103",
    ]
    assert_agreement(agent)
    assert agent.unpublish("web").ports == ()
    assert agent.unpublish("web").ports == ()
    assert_agreement(agent)
    assert agent.publish("web", ["8080:80"]).ports


@pytest.mark.parametrize("spec", ["8081:80", "8080:81", "8080:80/udp", "127.0.0.1:8080:80", "8100:9100"])
def test_unpublishing_what_is_not_there(agent: Agent, spec: str) -> None:
    """A spec that names no mapping is refused, and the others of the request stay published."""
    web = agent.allocate("web", ports=["8080:80", "8082:80", "8100-8103:9100-9103"])
    with pytest.raises(Refused, match=re.escape(spec)) as refused:
        agent.unpublish("web", ["8082:80", spec])
    assert refused.value.code == "not_found"
    assert agent.inspect("web") == web
    assert_agreement(agent)


def test_a_mapping_waits_for_a_port_taken_while_the_agent_was_away(
    start_agent: StartAgent, kernel: object
) -> None:
    """A port promised before, and held by somebody else at the start, does not keep the agent from starting."""
    agent = start_agent()
    agent.allocate("web", ports=["8080:80", "8081:80"])
    agent.stop()
    with socket.create_server(("127.0.0.1", 8080)):
        again = start_agent()
        assert [m.host_port for m in again.inspect("web").ports] == [8080, 8081]
        assert ("tcp", 8081) in listening()


def test_automatic_ports_go_on_in_turn_after_a_restart(agent: Agent, start_agent: StartAgent) -> None:
    """A port given back is not given at once again, whichever interface had the last one, also by a new agent."""
    for name in ("web", "db"):
        agent.allocate(name, ports=["80"])
    assert [each.host_port for each in agent.publish("web", ["81", "82"]).ports] == [49153, 49155, 49156]
    agent.unpublish("web", ["81"])
    agent.stop()
    assert start_agent().publish("db", ["81"]).ports[-1].host_port == 49157
