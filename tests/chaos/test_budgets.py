"""Clients that would have the agent's memory and places, each of the kinds that once could."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import msgpack
import pytest

from agents import AgentProcess, until
from chaos.crowds import SPARE, answer, bounded, connect, request, send_all, send_whole
from contract.wire import Wire
from lab import Lab
from moorage import Client
from uids import connections, must_be_root, public_directory

pytestmark = pytest.mark.system

LONG = bool(os.environ.get("MOORAGE_SOAK_MINUTES"))
"""Whether there is time for the large numbers."""
PORTS = 16_000 if LONG else 5_000
CROWD = 500
ALICE, BOB, STRANGER = 4001, 4002, 4003


@pytest.fixture(scope="module")
def agent() -> Iterator[AgentProcess]:
    """An agent that two more users may use, with an interface of many ports: 0.4 MB to tell, 1.3 for the long run."""
    with Lab() as lab, public_directory("budgets") as directory:
        config = {"kernel": "memory", "subnet": "10.0.0.1/16", "allow_uids": [ALICE, BOB]}
        with AgentProcess(lab, directory, **config) as agent:
            agent.client.create_network("bare", subnet="10.1.0.0/24", proxy="never")
            ports = [f"127.0.0.2:{10_000 + number}:80" for number in range(PORTS)]
            agent.client.allocate("great", network="bare", ports=ports)
            yield agent


def test_small_requests_for_great_answers(agent: AgentProcess) -> None:
    """Some kilobytes of pipelined questions about one great interface cost no more than a few answers."""
    with ExitStack() as stack, bounded(agent):
        for _ in range(8):
            send_all(connect(agent, stack), request("inspect", {"id": "great"}) * 900)
        for _ in range(5):
            assert len(agent.client.inspect("great").ports) == PORTS


def test_changes_with_great_answers(agent: AgentProcess) -> None:
    """So do changes whose answer is that interface, which nobody reads."""
    with ExitStack() as stack, bounded(agent):
        for _ in range(4):
            send_all(connect(agent, stack), request("detach", {"id": "great"}) * 900)
        agent.client.detach("great")


def test_all_is_answered_that_is_read(agent: AgentProcess) -> None:
    """Who asks for as much and reads it gets every answer, whole."""
    with ExitStack() as stack, bounded(agent):
        client = connect(agent, stack)
        send_all(client, b"".join(request("inspect", {"id": "great"}, msgid=n) for n in range(50)))
        client.setblocking(True)
        unpacker, answered = msgpack.Unpacker(max_buffer_size=1 << 30), []
        while len(answered) < 50:
            unpacker.feed(client.recv(1 << 20))
            for _, msgid, error, result in unpacker:
                assert (error, len(result["ports"])) == (None, PORTS)
                answered.append(msgid)
        assert sorted(answered) == list(range(50))


def test_unfinished_requests(agent: AgentProcess) -> None:
    """Hundreds of requests of a megabyte of which the last byte is missing cost what one uid may hold."""
    frame = request("allocate", {"labels": {"a": "x" * 1_000_000}})[:-1]
    with ExitStack() as stack, bounded(agent):
        for _ in range(CROWD if LONG else 150):
            send_whole(connect(agent, stack), frame)
        agent.client.hello()


def test_an_honest_request_among_unfinished_ones(agent: AgentProcess) -> None:
    """A large request that comes whole is done, however many of the same uid never do."""
    frame = request("allocate", {"labels": {"a": "x" * 1_000_000}})[:-1]
    with ExitStack() as stack, bounded(agent):
        for _ in range(40):
            send_whole(connect(agent, stack), frame)
        specs = [f"127.0.0.3:{20_000 + number}:80" for number in range(3000)]
        made = agent.client.allocate("honest", network="bare", ports=specs)
        assert len(made.ports) == 3000
        agent.client.release("honest")


def test_requests_of_many_values(agent: AgentProcess) -> None:
    """Of requests that are large once they are read a uid has a few under way, and hears `limit` for others."""
    must_be_root()
    frame = request("publish", {"id": "great", "ports": [], "source": ["1:1"] * 100_000})
    with ExitStack() as stack, bounded(agent):
        crowd = [stack.enter_context(each) for each in connections(agent.socket, ALICE, 12)]
        for client in crowd:
            send_whole(client, frame)
        errors = [answer(client)[2][1].partition(":")[0] for client in crowd]
        assert set(errors) <= {"invalid", "limit"}
        assert "invalid" in errors


def test_events_that_nobody_reads(agent: AgentProcess) -> None:
    """Hundreds of subscribers that read nothing cost what one uid may leave unread."""
    with ExitStack() as stack, bounded(agent):
        for _ in range(200):
            client = connect(agent, stack)
            client.sendall(request("subscribe"))
            client.recv(100)
        ports = [f"127.0.0.4:{30_000 + number}:80" for number in range(500)]
        for _ in range(10):
            agent.client.allocate("noisy", network="bare", ports=ports)
            agent.client.release("noisy")


def test_a_uid_fills_its_own_share(agent: AgentProcess) -> None:
    """What one uid leaves unread, unfinished and under way costs another nothing but its memory."""
    must_be_root()
    frame = request("allocate", {"labels": {"a": "x" * 1_000_000}})[:-1]
    with ExitStack() as stack, bounded(agent, 2 * SPARE):
        for client in connections(agent.socket, ALICE, 60):
            stack.enter_context(client)
            send_all(client, request("inspect", {"id": "great"}) * 200)
            stack.enter_context(unfinished := connections(agent.socket, ALICE)[0])
            send_whole(unfinished, frame)
        (bob,) = connections(agent.socket, BOB)
        stack.enter_context(bob)
        bob.settimeout(10)
        bob.sendall(request("allocate", {"id": "bobs"}) + request("release", {"id": "bobs"}, msgid=2))
        unpacker, answered = msgpack.Unpacker(), set()
        while len(answered) < 2:
            unpacker.feed(bob.recv(1 << 16))
            answered |= {msgid for _, msgid, error, _ in unpacker if error is None}


def test_idle_subscribers_keep_nobody_out(agent: AgentProcess) -> None:
    """512 subscribers of one uid leave places for root and for other uids; one more of theirs hears `limit`."""
    must_be_root()
    with ExitStack() as stack:
        crowd = [stack.enter_context(each) for each in connections(agent.socket, ALICE, 512)]
        for client in crowd:
            client.settimeout(10)
            with suppress(ConnectionError):
                client.sendall(request("subscribe"))
        answers = [answer(client) for client in crowd]
        assert sum(each is not None and each[2] is None for each in answers) == 128
        for client in connections(agent.socket, ALICE, 5):
            stack.enter_context(client)
            client.sendall(request("hello"))
            assert answer(client)[2][1].startswith("limit: uid 4001 has 128 connections")
        with Client(agent.socket, pauses=()) as client:
            assert client.hello()
        (bob,) = connections(agent.socket, BOB)
        stack.enter_context(bob)
        bob.sendall(request("hello"))
        assert answer(bob) is not None


def test_many_users_keep_root_not_out(tmp_path: Path) -> None:
    """Crowds of many uids that wait for events leave root's places alone."""
    must_be_root()
    uids = [5000 + number for number in range(8)]
    with Lab() as lab, public_directory("crowds") as directory, ExitStack() as stack:
        agent = stack.enter_context(AgentProcess(lab, directory, kernel="memory", allow_uids=uids))
        for uid in uids:
            for client in connections(agent.socket, uid, 100):
                stack.enter_context(client)
                with suppress(ConnectionError):
                    client.sendall(request("subscribe"))
        roots = [stack.enter_context(Wire(agent.socket)) for _ in range(64)]
        for wire in roots:
            wire.call("subscribe")
        with Wire(agent.socket) as wire:
            until(lambda: wire.call("hello"))
