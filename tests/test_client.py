"""The client: what it sends, what it makes of answers, and what it repeats."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.client import Client
from moorage.errors import Code, Fault, Refused, Unreachable
from moorage.methods import Methods
from moorage.rpc.codec import Notification, Response
from moorage.rpc.schema import METHODS
from moorage.values import Hello, Interface, Mapping, Network, Released, Removed, Step
from scripted_agent import Hangup, ScriptedAgent, Silence, calls

PATIENCE = 10.0
NO_PAUSES = (0.0, 0.0, 0.0)
WEB = {
    "id": "web",
    "network": "default",
    "ip": "10.0.42.2",
    "prefix": 24,
    "gateway": "10.0.42.1",
    "mac": "02:42:0a:00:2a:02",
    "netns": None,
    "ifname": None,
    "ports": [{"proto": "tcp", "host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "count": 1}],
    "labels": {},
    "created": "2026-01-01T00:00:00Z",
}
BACK = {
    "name": "back",
    "bridge": "b1",
    "subnet": "10.1.0.0/24",
    "gateway": "10.1.0.1",
    "internal": True,
    "mtu": 9000,
}
HELLO = {"name": "moorage", "version": "0.1.0", "api": 1, "pid": 7, "started": "2026-01-01T00:00:00Z"}
UNAVAILABLE = Refused(Code.UNAVAILABLE, "a part is restarting")


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    """An agent that still has to be given its answers."""
    with ScriptedAgent(tmp_path / "agent.sock") as agent:
        yield agent


@pytest.fixture
def client(agent: ScriptedAgent) -> Iterator[Client]:
    """A client of that agent which repeats without pauses."""
    with Client(agent.path, timeout=PATIENCE, pauses=NO_PAUSES) as client:
        yield client


def test_every_method_of_the_table_is_there() -> None:
    """The typed methods are those of the method table."""
    assert {name for name in vars(Methods) if not name.startswith("_")} == set(METHODS)


def test_interfaces_are_frozen_values(agent: ScriptedAgent, client: Client) -> None:
    """An interface comes as a dataclass with its mappings."""
    agent.answers = [WEB, [WEB, WEB]]

    web = client.inspect("web")

    assert isinstance(web, Interface)
    assert (web.ip, web.ports) == ("10.0.42.2", (Mapping("tcp", "127.0.0.1", 8080, 80),))
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


def test_no_agent_is_unreachable(tmp_path: Path) -> None:
    """Without an agent the error says which socket was tried, whether nothing or nobody is there."""
    path = tmp_path / "agent.sock"
    with Client(path) as client:
        with pytest.raises(Unreachable, match=r"agent\.sock"):
            client.hello()
        with ScriptedAgent(path):
            pass
        with pytest.raises(Unreachable, match="Connection refused"):
            client.hello()


def test_a_silent_agent_is_unreachable(agent: ScriptedAgent) -> None:
    """An agent that does not answer in time is unreachable, and the call is not repeated."""
    agent.answers = [Silence(), Silence()]

    with (
        Client(agent.path, timeout=0.05, pauses=NO_PAUSES) as client,
        pytest.raises(Unreachable, match=r"0\.05"),
    ):
        client.release("web")

    assert len(agent.requests) == 1


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x94\x01\xff\xc0\xc0"])
def test_something_else_that_listens_is_no_agent(answer: bytes, agent: ScriptedAgent, client: Client) -> None:
    """An answer that is not MessagePack-RPC is Unreachable and says so."""
    agent.answers = [answer]

    with pytest.raises(Unreachable, match="no moorage agent"):
        client.hello()


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


@pytest.mark.parametrize("length", [107, 108, 240])
def test_paths_of_any_length_work(length: int, tmp_path: Path) -> None:
    """A socket whose path does not fit `sockaddr_un` is reached all the same."""
    path = tmp_path / ("s" * (length - len(str(tmp_path)) - 1))
    with ScriptedAgent(path, HELLO), Client(path, timeout=PATIENCE) as client:
        assert client.hello().pid == 7


def test_threads_do_not_wait_for_each_other(agent: ScriptedAgent, client: Client) -> None:
    """A call that hangs in one thread does not hold up another, and each gets its own answer."""
    agent.answers = [Silence(), HELLO]
    outcome: list[Exception] = []

    def hang() -> None:
        try:
            client.crash("journal")
        except Unreachable as error:
            outcome.append(error)

    thread = threading.Thread(target=hang)
    thread.start()
    assert agent.asked.acquire(timeout=PATIENCE)
    assert client.hello().pid == 7
    agent.stop()
    thread.join(PATIENCE)
    assert len(outcome) == 1


def test_many_threads_share_a_client(agent: ScriptedAgent, client: Client) -> None:
    """Calls from many threads at once all get an answer, over no more connections than threads."""
    agent.answers = [HELLO] * 80
    pids: list[int] = []
    threads = [
        threading.Thread(target=lambda: pids.extend(client.hello().pid for _ in range(10))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)

    assert pids == [7] * 80
    assert agent.accepted <= 8


def test_a_closed_client_is_closed(agent: ScriptedAgent, client: Client) -> None:
    """A call after `close` is an error of the caller."""
    agent.answers = [HELLO]
    client.hello()
    client.close()
    client.close()

    with pytest.raises(ValueError, match="closed"):
        client.hello()


def test_events_are_given_in_order(agent: ScriptedAgent, client: Client) -> None:
    """Events come in order, one that overtook the answer included, until the agent ends."""
    early, late = ({"event": "repaired", "time": str(number)} for number in range(2))
    agent.answers = [[Notification("event", [early]), Response(0, None, None), Notification("event", [late])]]

    with client.subscribe(["repaired"]) as events:
        assert [next(events), next(events)] == [early, late]
        agent.stop()
        with pytest.raises(Unreachable):
            next(events)

    assert calls(agent.requests) == [("subscribe", {"events": ["repaired"]})]


def test_a_subscription_can_be_closed_from_another_thread(agent: ScriptedAgent, client: Client) -> None:
    """Closing ends the iteration that waits, without an error."""
    agent.answers = [None]
    events = client.subscribe()
    seen: list[Any] = [0]
    thread = threading.Thread(target=lambda: seen.extend(events))
    thread.start()
    events.close()
    thread.join(PATIENCE)

    assert not thread.is_alive()
    assert seen == [0]


def test_a_refused_subscription_leaves_no_connection(agent: ScriptedAgent, client: Client) -> None:
    """A subscription that is refused raises Refused."""
    agent.answers = [Refused(Code.INVALID, "there is no event 'repaird'")]

    with pytest.raises(Refused):
        client.subscribe(["repaird"])
