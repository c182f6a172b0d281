"""What a client sends, and what it makes of answers."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.client import Client
from moorage.errors import Code, Fault, Refused
from moorage.methods import Methods
from moorage.rpc.codec import Notification, Response
from moorage.rpc.schema import METHODS
from moorage.values import Hello, Interface, Mapping, Network, Released, Removed, Step
from scripted_agent import ScriptedAgent, calls
from wire_samples import BACK, HELLO, TCP, UDP, WEB


def test_every_method_of_the_table_is_there() -> None:
    """The typed methods are those of the method table."""
    assert {name for name in vars(Methods) if not name.startswith("_")} == set(METHODS)


def test_interfaces_are_frozen_values(agent: ScriptedAgent, client: Client) -> None:
    """An interface comes as a dataclass with its mappings."""
    agent.answers = [WEB, [WEB, WEB]]

    web = client.inspect("web")

    assert isinstance(web, Interface)
    assert (web.ip, web.ports) == ("10.0.42.2", (Mapping(**TCP), Mapping(**UDP)))
    assert client.list("default") == [web, web]
    assert calls(agent.requests) == [("inspect", {"id": "web"}), ("list", {"network": "default"})]


def test_only_what_is_given_is_sent(agent: ScriptedAgent, client: Client) -> None:
    """Arguments left out are keys left out; an empty array of ports is not the same as none."""
    agent.answers = [WEB] * 6
    client.allocate(id="web", ports=("8080:80",), labels={"a": "b"})
    client.attach("web", "pid:7")
    client.publish("web", ["53/udp"])
    client.unpublish("web")
    client.unpublish("web", [])
    client.detach("web")

    assert calls(agent.requests) == [
        ("allocate", {"id": "web", "ports": ["8080:80"], "labels": {"a": "b"}}),
        ("attach", {"id": "web", "netns": "pid:7"}),
        ("publish", {"id": "web", "ports": ["53/udp"]}),
        ("unpublish", {"id": "web"}),
        ("unpublish", {"id": "web", "ports": []}),
        ("detach", {"id": "web"}),
    ]


def test_a_lone_string_is_not_taken_apart(agent: ScriptedAgent, client: Client) -> None:
    """A string where an array of specs belongs is sent as a string, for the agent to refuse."""
    agent.answers = [WEB]
    client.publish("web", "80")

    assert calls(agent.requests) == [("publish", {"id": "web", "ports": "80"})]


def test_networks_and_the_rest_are_values_too(agent: ScriptedAgent, client: Client) -> None:
    """Each method gives the dataclass of its answer, and a newer agent's further keys are passed over."""
    actor = {
        "name": "root",
        "parent": None,
        "kind": "supervisor",
        "state": "running",
        "restarts": 0,
        "mailbox": 0,
    }
    numbers = dict.fromkeys(("networks", "interfaces", "mappings", "proxies", "restarts", "repaired"), 3)
    agent.answers = [
        HELLO | {"mood": "good"},
        BACK,
        [BACK],
        {"removed": False},
        {"released": True},
        [actor | {"since": "now"}],
        numbers | {"kernel": "linux", "started": "now"},
        [{"step": "nft", "ok": True, "text": "found"}],
        None,
    ]

    assert client.hello() == Hello(**HELLO)
    assert client.create_network("back", subnet="10.1.0.0/24", internal=True, mtu=9000) == Network(**BACK)
    assert client.networks() == [Network(**BACK)]
    assert client.remove_network("back") == Removed(False)
    assert client.release("web") == Released(True)
    assert client.tree()[0].name == "root"
    assert client.status().proxies == 3
    assert client.why("8080/tcp") == [Step("nft", True, "found")]
    assert client.crash("journal") is None
    assert agent.accepted == 1


@pytest.mark.parametrize("value", [Released(True), Removed(True)])
def test_a_false_answer_is_false(value: Released | Removed) -> None:
    """Whether something was there to release can be asked with `if`."""
    assert value
    assert not type(value)(False)


def test_refusals_are_raised_and_the_connection_is_kept(agent: ScriptedAgent, client: Client) -> None:
    """A refusal raises Refused with its code, once, and the next call goes over the same connection."""
    agent.answers = [Refused(Code.PORT_IN_USE, "port 80 is held by pid 7 (nginx)"), HELLO]

    with pytest.raises(Refused, match="pid 7") as caught:
        client.publish("web", ["80:80"])

    assert caught.value.code is Code.PORT_IN_USE
    assert client.hello().pid == 7
    assert agent.accepted == 1


@pytest.mark.parametrize("answer", [None, 7, {}, [1]])
def test_an_answer_of_another_shape_is_a_fault(answer: Any, agent: ScriptedAgent, client: Client) -> None:
    """A result that is not what the method gives is a Fault."""
    agent.answers = [answer]

    with pytest.raises(Fault):
        client.status()


def test_other_messages_before_the_answer_are_passed_over(agent: ScriptedAgent, client: Client) -> None:
    """Notifications and answers to nobody do not disturb a call."""
    agent.answers = [[Notification("event", [{}]), Notification("news", []), Response(0, None, HELLO)]]

    assert client.hello().pid == 7


@pytest.mark.parametrize("value", ["\ud800", {1}, 2**64], ids=["a surrogate", "a set", "a large integer"])
def test_what_cannot_be_sent_is_invalid(value: Any, agent: ScriptedAgent, client: Client) -> None:
    """A parameter that MessagePack cannot hold is refused here, and the client goes on."""
    agent.answers = [HELLO]

    with pytest.raises(Refused) as caught:
        client.inspect(value)

    assert caught.value.code is Code.INVALID
    assert client.hello().pid == 7


def test_a_request_that_is_too_long_is_refused_here(client: Client) -> None:
    """A request beyond what the agent takes is `limit`, and not a lost connection."""
    with pytest.raises(Refused) as caught:
        client.publish("web", ["80"] * 400_000)

    assert caught.value.code is Code.LIMIT
