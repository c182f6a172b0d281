"""What a client repeats, and when it gives up."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.client import Client
from moorage.errors import Code, Fault, Refused, Unreachable
from scripted_agent import Hangup, ScriptedAgent, Silence
from wire_samples import HELLO, WEB

PATIENCE = 10.0
NO_PAUSES = (0.0, 0.0, 0.0)
UNAVAILABLE = Refused(Code.UNAVAILABLE, "a part is restarting")


def test_every_change_carries_a_request(agent: ScriptedAgent, client: Client) -> None:
    """A change without `request` gets one of its own, the caller's goes as it is, questions have none."""
    agent.answers = [WEB, WEB, WEB, WEB]
    client.publish("web", ["80"])
    client.publish("web", ["80"])
    client.publish("web", ["80"], request="mine")
    client.inspect("web")

    first, second, mine, question = (each.params[0].get("request") for each in agent.requests)
    assert first != second
    assert (mine, question) == ("mine", None)


@pytest.mark.parametrize("failure", [Hangup(), Fault("an actor died"), UNAVAILABLE], ids=repr)
def test_a_change_is_repeated_with_the_same_request(
    failure: Exception, agent: ScriptedAgent, client: Client
) -> None:
    """After a lost connection, a fault or `unavailable` the very same call is sent again."""
    agent.answers = [failure, WEB]

    assert client.publish("web", ["80"]).id == "web"
    first, second = agent.requests
    assert (first.method, first.params) == (second.method, second.params)


@pytest.mark.parametrize(
    ("failure", "attempts"),
    [(Hangup(), 2), (Fault("an actor died"), 2), (UNAVAILABLE, len(NO_PAUSES) + 1)],
    ids=repr,
)
def test_repeating_ends(failure: Exception, attempts: int, agent: ScriptedAgent, client: Client) -> None:
    """What goes on failing is raised: a second fault or loss at once, `unavailable` after the last pause."""
    agent.answers = [failure] * 9

    with pytest.raises(Unreachable if isinstance(failure, Hangup) else type(failure)):
        client.release("web")

    assert len(agent.requests) == attempts


@pytest.mark.parametrize("failure", [Hangup(), Fault("the journal died")], ids=repr)
def test_a_crash_is_not_repeated(failure: Exception, agent: ScriptedAgent, client: Client) -> None:
    """`crash`, which takes no request, is sent once."""
    agent.answers = [failure] * 2

    with pytest.raises((Unreachable, Fault)):
        client.crash("journal")

    assert agent.methods == ["crash"]


def test_an_agent_that_comes_back_is_found(tmp_path: Path) -> None:
    """A client outlives its agent: the next call goes to the one that took its place."""
    path = tmp_path / "agent.sock"
    with Client(path, timeout=PATIENCE, pauses=NO_PAUSES) as client:
        with ScriptedAgent(path, HELLO):
            client.hello()
        path.unlink()
        with ScriptedAgent(path, HELLO | {"pid": 8}):
            assert client.hello().pid == 8


def test_a_silent_agent_is_unreachable(agent: ScriptedAgent) -> None:
    """An agent that does not answer in time is unreachable, and the call is not repeated."""
    agent.answers = [Silence(), Silence()]

    with (
        Client(agent.path, timeout=0.05, pauses=NO_PAUSES) as client,
        pytest.raises(Unreachable, match=r"0\.05"),
    ):
        client.release("web")

    assert len(agent.requests) == 1
