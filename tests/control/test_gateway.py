"""The gateway: many clients on one socket."""

from __future__ import annotations

import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Any

import pytest

import agents
from agreement import actor, assert_agreement
from moorage import Agent, Client, Refused, Unreachable
from moorage.control import gateway, port_mapper
from moorage.rpc.codec import Notification, Request, encode
from moorage.rpc.places import Places

pytestmark = pytest.mark.system


@pytest.fixture
def clients() -> Any:
    """Make raw connections to an agent, closed after the test."""
    with ExitStack() as stack:

        def connect(agent: Agent) -> socket.socket:
            made = stack.enter_context(socket.socket(socket.AF_UNIX))
            made.settimeout(10)
            made.connect(str(agent.socket))
            return made

        yield connect


def is_closed(connection: socket.socket) -> bool:
    with suppress(ConnectionResetError):
        return connection.recv(1) == b""
    return True


def test_hostile_clients_disturb_nobody(agent: Agent, clients: Any) -> None:
    """While others send garbage, half frames and requests without reading, a client is served."""
    for hostile in (b"\xc1" * 1000, b"\x94\x00\x01", b"\xdd\xff\xff\xff\xff", b"\x91" * 1000):
        clients(agent).sendall(hostile)
    greedy = clients(agent)
    greedy.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            greedy.send(encode(Request(1, "tree", [])) * 100)
    with Client(agent.socket, timeout=10) as client:
        assert client.allocate("web", ports=["80"]).ip == "10.0.42.2"
    assert_agreement(agent)


def test_a_notification_does_what_the_request_would(agent: Agent, clients: Any) -> None:
    """A notification allocates like a request, also when its client is gone at once, and answers nothing."""
    with agent.subscribe(["interface_allocated"]) as events:
        client = clients(agent)
        client.sendall(encode(Notification("allocate", [{"id": "web", "ports": ["8080:80"]}])))
        client.close()
        assert next(events)["id"] == "web"
    assert agent.inspect("web").ports[0].host_port == 8080


@pytest.mark.parametrize("remote", [True, False])
def test_events_are_for_subscribers(agent: Agent, monkeypatch: pytest.MonkeyPatch, *, remote: bool) -> None:
    """The gateway hears of what happens once somebody has subscribed, over the socket or in this process."""
    heard: list[str] = []
    publish = gateway.Gateway._publish

    def note(self: gateway.Gateway, event: Any) -> None:
        heard.append(event.fields["id"])
        publish(self, event)

    monkeypatch.setattr(gateway.Gateway, "_publish", note)
    with Client(agent.socket, timeout=10) as client:
        client.allocate("early")
        with (client if remote else agent).subscribe(["interface_allocated"]) as events:
            client.allocate("late")
            assert next(events)["id"] == "late"
    assert heard == ["late"]


def test_a_request_outlives_its_client(agent: Agent, clients: Any) -> None:
    """A request whose client goes in the middle of it is done to the end."""
    under_way, go_on = threading.Event(), threading.Event()
    batch = port_mapper.PortMapper.receive_batch

    async def slowly(self: port_mapper.PortMapper, messages: list[Any]) -> list[Any]:
        under_way.set()
        go_on.wait(10)
        return await batch(self, messages)

    with pytest.MonkeyPatch.context() as patch, agent.subscribe(["interface_allocated"]) as events:
        patch.setattr(port_mapper.PortMapper, "receive_batch", slowly)
        client = clients(agent)
        client.sendall(encode(Request(1, "allocate", [{"id": "web", "ports": ["8080:80"]}])))
        assert under_way.wait(10)
        client.close()
        go_on.set()
        assert next(events)["id"] == "web"
    assert_agreement(agent)


def test_silent_clients_make_room(agent: Agent, clients: Any) -> None:
    """Past the limit those go that never asked anything, the first of them first; a new client is served."""
    actor(agent, "gateway")._places = Places({os.geteuid()}, places=3)
    with Client(agent.socket) as served, Client(agent.socket, pauses=()) as new:
        served.hello()
        silent = [clients(agent), clients(agent)]
        agents.until(lambda: connections(agent) == 3)
        assert new.hello().name == "moorage"
        assert is_closed(silent[0])
        assert len(served._idle) == 1
        served.hello()  # by its connection, which asked something before, and is there still
        assert connections(agent) == 3


def test_subscribers_make_room_for_the_trusted(agent: Agent, clients: Any) -> None:
    """With only subscribers there, the one that asked first makes room for one more client of root's or the agent's."""
    actor(agent, "gateway")._places = Places({os.geteuid()}, places=3)
    subscribers = [clients(agent) for _ in range(3)]
    for each in subscribers:
        each.sendall(encode(Request(1, "subscribe", [])))
        assert each.recv(100)
    with Client(agent.socket, pauses=()) as client:
        assert client.hello().name == "moorage"
        assert is_closed(subscribers[0])
        assert connections(agent) == 3


def test_who_finds_no_place_hears_why(agent: Agent, clients: Any) -> None:
    """With only subscribers of its own there, one more client of another uid is answered `limit`, until one leaves."""
    actor(agent, "gateway")._places = Places((), each=3)
    subscribers = [clients(agent) for _ in range(3)]
    for each in subscribers:
        each.sendall(encode(Request(1, "subscribe", [])))
        assert each.recv(100)
    with Client(agent.socket, pauses=()) as client, pytest.raises(Refused, match="3 connections") as refused:
        client.hello()
    assert refused.value.code == "limit"
    subscribers[0].close()
    agents.until(lambda: connections(agent) == 2)
    with Client(agent.socket, pauses=()) as client:
        assert client.hello().name == "moorage"


def connections(agent: Agent) -> int:
    return len(actor(agent, "gateway")._sessions)


def test_the_gateway_answers_before_it_crashes(agent: Agent) -> None:
    """Requests under way when the gateway crashes are done, and clients find the next one at the same socket."""
    answers: list[Any] = []

    def allocate(number: int) -> None:
        with Client(agent.socket, timeout=20) as client:
            while True:
                try:
                    answers.append(client.allocate(f"c{number}", ports=["80"], request=f"r{number}"))
                except Unreachable:
                    continue
                return

    with ThreadPoolExecutor(8) as pool:
        calls = [pool.submit(allocate, number) for number in range(40)]
        agents.until(lambda: len(answers) > 5)
        agent.crash("gateway")
        for call in calls:
            call.result(30)
    assert sorted(each.id for each in answers) == sorted(each.id for each in assert_agreement(agent))


def test_what_is_asked_wrongly_is_answered(agent: Agent) -> None:
    """A well-formed request that is wrong is refused by name, and the connection serves on."""
    with Client(agent.socket) as client:
        for method, params, code in (
            ("allocate", {"colour": "red"}, "invalid"),
            ("allocate", {"id": "-web"}, "invalid"),
            ("allocate", {"id": "w" * 129}, "invalid"),
            ("publish", {"id": "web"}, "invalid"),
            ("release", {}, "invalid"),
            ("allocate", {"labels": {"a": 1}}, "invalid"),
            ("allocate", {"ports": "80"}, "invalid"),
            ("allocate", {"request": ""}, "invalid"),
        ):
            with pytest.raises(Refused, match=method) as refused:
                client._call(method, params)
            assert refused.value.code == code
        assert client.list() == []
