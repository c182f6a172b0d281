"""Sockets, threads and what may listen there."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from moorage.client import Client
from moorage.errors import Code, Refused, Unreachable
from moorage.rpc.codec import Notification, Response
from scripted_agent import ScriptedAgent, Silence, calls
from wire_samples import HELLO

PATIENCE = 10.0


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


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x94\x01\xff\xc0\xc0"])
def test_something_else_that_listens_is_no_agent(answer: bytes, agent: ScriptedAgent, client: Client) -> None:
    """An answer that is not MessagePack-RPC is Unreachable and says so."""
    agent.answers = [answer]

    with pytest.raises(Unreachable, match="no moorage agent"):
        client.hello()


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


def test_a_forked_child_connects_anew(agent: ScriptedAgent, client: Client) -> None:
    """A child shares no connection with its parent, where one would be given what the other had asked for."""
    agent.answers = [HELLO] * 3
    client.hello()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os._exit(client.hello().pid)
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 7
    assert client.hello().pid == 7
    assert agent.accepted == 2


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
