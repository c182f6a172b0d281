"""What the containers of one uid take of the agent leaves others theirs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from agreement import StartAgent, assert_agreement
from control.test_remembered import ask
from moorage import Agent
from moorage.control import ports as checked_ports
from moorage.model import shares
from moorage.model.port_pool import PortPool
from uids import connections, must_be_root, public_directory

pytestmark = pytest.mark.system

ALICE, BOB = 4001, 4002


@pytest.fixture
def shared(start_agent: StartAgent) -> Iterator[Agent]:
    """An agent that two other users may use, with little to share."""
    must_be_root()
    with public_directory("shares") as directory:
        agent = start_agent(socket=directory / "agent.sock", allow_uids=[ALICE, BOB])
        yield agent
        agent.stop()


@pytest.fixture
def clients(shared: Agent) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two users' connections."""
    ((alice,), (bob,)) = connections(shared.socket, ALICE), connections(shared.socket, BOB)
    with alice, bob:
        yield alice, bob


Clients = tuple[socket.socket, socket.socket]


def until_refused(client: socket.socket, method: str, each: Any) -> tuple[int, str]:
    """How often it was done, and what then was said."""
    number = 0
    while isinstance(answer := ask(client, method, **each(number)), dict):
        number += 1
    return number, answer


def test_interfaces(shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uid at its bound is refused and told of it, until it releases one; another uid and root are not refused."""
    monkeypatch.setattr(shares, "INTERFACES", 5)
    alice, bob = clients
    number, refusal = until_refused(alice, "allocate", lambda n: {"id": f"a{n}"})
    assert number == 5
    assert refusal.startswith("limit: uid 4001 would have 6 interfaces, and one uid may have 5")
    assert ask(bob, "allocate", id="b")["id"] == "b"
    assert shared.allocate("root").id == "root"
    assert ask(alice, "publish", id="a0", ports=["80"])["ports"] != []
    assert ask(alice, "release", id="a0") == {"released": True}
    assert ask(alice, "allocate", id="again")["id"] == "again"
    assert_agreement(shared)


def test_labels(shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are counted by their bytes."""
    monkeypatch.setattr(shares, "LABELS", 10_000)
    alice, bob = clients
    labels = {"k": "x" * 3000}
    number, refusal = until_refused(alice, "allocate", lambda n: {"id": f"a{n}", "labels": labels})
    assert number == 3
    assert "bytes of labels" in refusal
    assert ask(alice, "allocate", id="bare")["id"] == "bare"
    assert ask(bob, "allocate", id="b", labels=labels)["id"] == "b"


def test_ports(shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """Published ports are counted one by one; who publishes at another's interface has it counted as his own."""
    monkeypatch.setattr(shares, "PORTS", 100)
    alice, bob = clients
    assert ask(alice, "allocate", id="a", ports=["8000-8089:1-90"])["id"] == "a"
    refusal = ask(alice, "publish", id="a", ports=["8100-8119:1-20/udp"])
    assert refusal.startswith("limit: uid 4001 would have 110 published ports, and one uid may have 100")
    shared.allocate("root")
    assert ask(alice, "publish", id="root", ports=["8100-8119:1-20/udp"]).startswith("limit: uid 4001")
    assert ask(bob, "allocate", id="b", ports=["8100-8199:1-100"])["id"] == "b"
    assert len(shared.publish("root", ["9000-9199:1-200"]).ports) == 1
    assert_agreement(shared)


@pytest.fixture
def few(start_agent: StartAgent) -> Iterator[Agent]:
    """The same with twenty automatic ports."""
    must_be_root()
    with public_directory("few") as directory:
        agent = start_agent(
            socket=directory / "agent.sock", allow_uids=[ALICE, BOB], port_range="49200-49219"
        )
        yield agent
        agent.stop()


def test_automatic_ports(few: Agent) -> None:
    """One uid has half of them, named or not, all but root three quarters; root always finds one."""
    ((alice,), (bob,)) = connections(few.socket, ALICE), connections(few.socket, BOB)
    with alice, bob:
        assert ask(alice, "allocate", id="a", ports=["49210-49214:1-5", "8000-8099:1-100"])["id"] == "a"
        number, refusal = until_refused(alice, "publish", lambda n: {"id": "a", "ports": [f"{n + 1000}/tcp"]})
        assert number == 5
        assert refusal.startswith(
            "limit: uid 4001 would have 11 ports of port_range, and one uid may have 10"
        )
        ask(bob, "allocate", id="b")
        number, refusal = until_refused(bob, "publish", lambda n: {"id": "b", "ports": [f"{n + 1000}/udp"]})
        assert number == 5
        assert refusal.startswith("limit: all clients but root would have 16 ports of port_range")
        assert ask(bob, "publish", id="b", ports=["9000:80"])["ports"] != []
        assert len(few.allocate("root", ports=["80"] * 10).ports) == 10
    assert_agreement(few)


@pytest.mark.parametrize("ports", ["20000-20049:1-50", "32768-51068:1-18301"])
def test_what_is_refused_in_the_end_is_taken_from_nobody_meanwhile(
    shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch, ports: str
) -> None:
    """More ports than a uid may have, or than the host's own way out leaves, are refused before they are reserved."""
    monkeypatch.setattr(shares, "PORTS", 49 if ports.startswith("2") else 1 << 16)
    monkeypatch.setattr(checked_ports, "PORTS", 1 << 16)
    alice, _ = clients
    ask(alice, "allocate", id="a")
    taken: list[object] = []
    monkeypatch.setattr(PortPool, "acquire_all", lambda *arguments: taken.append(arguments) or [])
    for method, name in (("publish", "a"), ("allocate", "b")):
        assert ask(alice, method, id=name, ports=[ports]).startswith("limit: ")
    assert taken == []


def test_networks(shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A uid makes so many, and all but root so many together; another's and root's are made all the same."""
    monkeypatch.setattr(shares, "NETWORKS", 3)
    monkeypatch.setattr(shares, "UIDS", 1)
    alice, bob = clients
    number, refusal = until_refused(alice, "create_network", lambda n: {"name": f"a{n}"})
    assert number == 3
    assert refusal.startswith("limit: uid 4001 would have 4 networks, and one uid may have 3")
    assert ask(bob, "create_network", name="b").startswith(
        "limit: all clients but root would have 4 networks"
    )
    assert shared.create_network("root").name == "root"
    assert ask(alice, "remove_network", name="a0") == {"removed": True}
    assert ask(bob, "create_network", name="b")["name"] == "b"
    assert "owner" not in ask(bob, "networks")[0]
    assert_agreement(shared)


def test_addresses_of_networks(shared: Agent, clients: Clients) -> None:
    """A few great networks are as much as many small ones."""
    alice, bob = clients
    for subnet in ("10.128.0.0/9", "10.64.0.0/13", "100.64.0.0/10"):
        refusal = ask(alice, "create_network", name="great", subnet=subnet)
        assert "addresses of networks, and one uid may have 262144" in refusal
    assert ask(alice, "create_network", name="great", subnet="10.64.0.0/14")["name"] == "great"
    assert "addresses of networks" in ask(alice, "create_network", name="more")
    assert ask(bob, "create_network", name="b", subnet="10.96.0.0/16")["name"] == "b"
    assert shared.create_network("root", subnet="10.128.0.0/9").name == "root"
    assert_agreement(shared)


def test_all_uids_leave_root_its_own(
    shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many uids together take no more than their part."""
    monkeypatch.setattr(shares, "INTERFACES", 4)
    monkeypatch.setattr(shares, "UIDS", 1)
    alice, bob = clients
    assert until_refused(alice, "allocate", lambda n: {"id": f"a{n}"})[0] == 4
    refusal = ask(bob, "allocate", id="b")
    assert refusal.startswith(
        "limit: all clients but root would have 5 interfaces, and together they may have 4"
    )
    assert shared.allocate("root").id == "root"


def test_the_descriptors_of_ports(shared: Agent, clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    """One uid has half of the descriptors that are there for published ports, all but root three quarters."""
    monkeypatch.setattr(shares, "for_ports", lambda: 200)
    alice, bob = clients
    assert "one uid may have 100" in ask(alice, "allocate", id="a", ports=["8000-8100:1-101"])
    assert ask(alice, "allocate", id="a", ports=["8000-8099:1-100"])["id"] == "a"
    assert "together they may have 150" in ask(bob, "allocate", id="b", ports=["9000-9050:1-51"])
    assert ask(bob, "allocate", id="b", ports=["9000-9049:1-50"])["id"] == "b"
    assert len(shared.allocate("root", ports=["9100-9199:1-100"]).ports) == 1


def test_a_restart_counts_the_same(start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next agent knows whose everything is; what is there and more than may be is kept, and nothing is added."""
    must_be_root()
    with public_directory("shares") as directory:
        agent = start_agent(socket=directory / "agent.sock", allow_uids=[ALICE, BOB])
        ((alice,),) = (connections(agent.socket, ALICE),)
        with alice:
            for number in range(4):
                ask(alice, "allocate", id=f"a{number}", ports=["80"])
        agent.stop()
        monkeypatch.setattr(shares, "INTERFACES", 3)
        monkeypatch.setattr(shares, "PORTS", 3)
        again = start_agent(socket=directory / "agent.sock", allow_uids=[ALICE, BOB])
        ((alice,),) = (connections(again.socket, ALICE),)
        with alice:
            assert len(again.list()) == 4
            assert ask(alice, "allocate", id="more").startswith("limit: uid 4001 would have 5 interfaces")
            assert ask(alice, "publish", id="a0", ports=["81"]).startswith(
                "limit: uid 4001 would have 5 published"
            )
            assert ask(alice, "unpublish", id="a0")["ports"] == []
            assert again.publish("a1", ["81"]).id == "a1"
        again.stop()
