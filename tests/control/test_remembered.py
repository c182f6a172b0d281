"""What is remembered of requests is bounded by uid, and kept once."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgpack
import pytest

from agreement import StartAgent, assert_agreement
from moorage import Agent, Refused
from moorage.control import desk
from moorage.store import requests
from uids import connections, must_be_root, public_directory

pytestmark = pytest.mark.system

ALICE, BOB = 4001, 4002
MIB = 1 << 20


@pytest.fixture
def shared(start_agent: StartAgent) -> Iterator[Agent]:
    """An agent that two other users may use."""
    must_be_root()
    with public_directory("remembered") as directory:
        agent = start_agent(socket=directory / "agent.sock", allow_uids=[ALICE, BOB])
        yield agent
        agent.stop()


def ask(client: socket.socket, method: str, **params: Any) -> Any:
    """The result, or the text of the error."""
    client.settimeout(20)
    client.sendall(msgpack.packb([0, 1, method, [params]]))
    unpacker = msgpack.Unpacker(max_buffer_size=1 << 30)
    while True:
        unpacker.feed(client.recv(1 << 20))
        for _, _, error, result in unpacker:
            return result if error is None else error[1]


def files(state: Path) -> int:
    """Bytes of the database and its log."""
    return sum(each.stat().st_size for each in state.glob("moorage.db*"))


def test_great_answers_take_little(start_agent: StartAgent, state: Path) -> None:
    """Hundreds of requests whose answers have thousands of ports and all labels there may be take a few megabytes."""
    agent = start_agent()
    agent.create_network("bare", subnet="10.1.0.0/24", proxy="never")
    labels = {f"k{number}": "x" * 4000 for number in range(4)}
    ports = [f"127.0.0.2:{10_000 + number}:80" for number in range(3000)]
    great = agent.allocate("great", network="bare", labels=labels, ports=ports)
    before = files(state)
    answers = [agent.detach("great", request=f"d{number}") for number in range(150)]
    more = [
        agent.publish("great", [f"127.0.0.2:{number}:81"], request=f"p{number}")
        for number in range(20_000, 20_020)
    ]
    agent.stop()
    assert files(state) - before < 4 * MIB
    again = start_agent()
    assert all(each == great for each in answers)
    assert again.detach("great", request="d149") == great
    assert [
        again.publish("great", [f"127.0.0.2:{n}:81"], request=f"p{n}") for n in range(20_000, 20_020)
    ] == more
    assert len(more[-1].ports) == 3020


def test_a_uid_at_its_bound_is_refused(shared: Agent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests with a string are refused `limit` and change nothing; plain ones, repeats and others' are done."""
    monkeypatch.setattr(requests, "EACH", 30_000)
    ((alice,), (bob,)) = connections(shared.socket, ALICE), connections(shared.socket, BOB)
    with alice, bob:
        first = ask(alice, "allocate", id="a0", request="r0")
        number = 0
        while isinstance(answer := ask(alice, "allocate", id=f"a{number}", request=f"r{number}"), dict):
            number += 1
        assert answer.startswith("limit: uid 4001 has as many answers remembered as may be")
        assert 20 < number < 100
        assert {each.id for each in shared.list()} == {f"a{n}" for n in range(number)}
        assert ask(alice, "allocate", id="a0", request="r0") == first
        assert ask(alice, "allocate", id="plain")["id"] == "plain"
        assert ask(alice, "release", id="plain") == {"released": True}
        assert ask(alice, "release", id="a1", request="last") == {
            "released": True
        }  # what gives back has more
        assert ask(bob, "allocate", id="b0", request="r0")["id"] == "b0"
        assert shared.allocate("root", request="r0").id == "root"
        assert_agreement(shared)


def test_nobody_knows_the_id_of_anothers_request(
    start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An id that nobody asked for is another one in each process, and what was done for a string is found in all."""
    agent = start_agent()
    first = agent.allocate(request="job")
    assert agent.allocate(request="job") == first
    agent.stop()
    monkeypatch.setattr(desk, "_SECRET", b"another process")
    again = start_agent()
    assert again.allocate(request="job") == first
    assert [each.id for each in again.list()] == [first.id]
    known = again.allocate(request="more").id
    monkeypatch.setattr(desk, "_SECRET", b"a third one")
    again.release(known, request="gone")
    assert again.allocate(request="more again").id not in {first.id, known}


def test_a_string_is_its_users(shared: Agent) -> None:
    """Who uses another's string is given nothing of what that one was answered, and takes nothing from him."""
    ((alice,), (bob,)) = connections(shared.socket, ALICE), connections(shared.socket, BOB)
    with alice, bob:
        made = [ask(client, "allocate", request="job") for client in (alice, bob)]
        made.append({"id": shared.allocate(request="job").id})
        assert len({each["id"] for each in made}) == 3
        assert ask(alice, "release", id=made[1]["id"], request="job").startswith("exists: ")
        assert ask(bob, "allocate", request="job") == made[1]
        with pytest.raises(Refused, match="'job'"):
            shared.publish("any", ["80"], request="job")
