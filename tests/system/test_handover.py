"""An agent that another takes over from, while its proxies are in use."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents import START, AgentProcess, Replaceable
from callers import HALF, PROXIED, Download, calling, connecting, downloading
from echo_server import ask
from installation import Installation
from lab import HOST, HOST6, Lab, Socket
from moorage.errors import Refused
from moorage.handover import Predecessor

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("MOORAGE_HANDOVERS", "6"))
"""Replacements in the long test; thousands for a soak."""


WAYS = (*(("host", to) for to in PROXIED), ("outside", HOST))
"""Whence and whereto: through proxies, and past them."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose 127.0.0.1 and ::1 are carried by proxies."""
    with installed(tmp_path_factory.mktemp("handover")) as made:
        yield made


@contextmanager
def installed(directory: Path, **config: Any) -> Iterator[Installation]:
    settings = {"subnet": "10.0.42.1/24", "loopback": "proxy"} | config
    with Lab() as lab, Replaceable(lab, directory, **settings) as agent:
        yield Installation(lab, agent)


def succeed(at: Installation) -> subprocess.Popen[Any]:
    assert isinstance(at.agent, Replaceable)
    return at.agent.succeed()


def test_nothing_is_refused_and_nothing_breaks(at: Installation) -> None:
    """Over many replacements every new connection is answered, and downloads outlive two of them."""
    predecessors = []
    downloads: list[Download] = []
    with (
        downloading(at) as server,
        connecting(at) as seen,
        connecting(at, "outside", (HOST, HOST6)) as outside,
        calling(at) as called,
    ):
        for turn in range(ROUNDS):
            downloads += [Download(at, server, *way) for way in WAYS]
            predecessors.append(succeed(at))
            if turn:
                for _ in WAYS:
                    assert downloads.pop(0).finish() == HALF * 2
        for each in downloads:
            assert each.finish() == HALF * 2
    assert [each.wait(START) for each in predecessors] == [0] * ROUNDS
    assert seen.failed == []
    assert outside.failed == []
    assert called.failed == []
    assert seen.count > 2 * ROUNDS
    assert called.count > ROUNDS


def test_a_connection_ends_with_its_mapping(at: Installation) -> None:
    """What the successor unpublishes ends at once, also where the predecessor still carries it."""
    with at.container("brief") as name:
        at.client.publish(name, ["8700:80", "8701:80"])
        clients = {(to, port): at.lab.open("host", (to, port)) for to in PROXIED for port in (8700, 8701)}
        for each in clients.values():
            ask(each)
        predecessors = [succeed(at), succeed(at)]
        for each in clients.values():
            ask(each)

        at.client.unpublish(name, ["8700:80"])

        for to in PROXIED:
            assert ended(clients[to, 8700])
            assert ask(clients[to, 8701]).server == "brief"
        at.client.unpublish(name)
        for to in PROXIED:
            assert ended(clients[to, 8701])
    assert [each.wait(START) for each in predecessors] == [0, 0]


def test_udp_goes_on(at: Installation) -> None:
    """A UDP client that was answered before is answered after, and never told that nobody listens."""
    clients = [at.lab.open("host", (to, 8080), "udp") for to in PROXIED]
    for each in clients:
        ask(each)
    succeed(at).wait(START)
    for each in clients:
        assert ask(each).server == "web"


def test_the_kernel_path_does_not_notice(at: Installation) -> None:
    """Connections from outside, of either protocol, go on."""
    kept = [at.lab.open("outside", (HOST, 8080), proto) for proto in ("tcp", "udp")]
    for each in kept:
        ask(each)
    succeed(at).wait(START)
    assert [ask(each).server for each in kept] == ["web", "web"]


def test_an_agent_whose_successor_fails_goes_on(at: Installation) -> None:
    """A successor that takes everything and dies costs nothing: the predecessor serves again."""
    pid = at.agent.pid
    kept = [at.lab.open("host", (to, 8080)) for to in PROXIED]
    with connecting(at) as seen, calling(at) as called:
        failing = Predecessor.find(at.agent.state, START)
        assert failing is not None
        assert len(failing.sockets) > 10
        for each in failing.sockets:
            each.socket.close()
        failing.close()
        assert at.client.hello().pid == pid
        assert at.client.publish("web", ["8710:80"]).ports[-1].host_port == 8710
    assert seen.failed == called.failed == []
    assert [ask(each).server for each in kept] == ["web", "web"]
    at.client.unpublish("web", ["8710:80"])
    for each in kept:
        each.close()
    succeed(at).wait(START)


def test_connections_have_a_deadline(tmp_path: Path) -> None:
    """A predecessor ends when its time is over, and what it still carries with it."""
    with installed(tmp_path, drain=0.5) as at:
        client = at.lab.open("host", ("::1", 8080))
        ask(client)
        assert succeed(at).wait(START) == 0
        assert ended(client)
        assert at.lab.can_reach("host", ("::1", 8080))


def test_a_predecessor_can_be_stopped(at: Installation) -> None:
    """SIGTERM ends what it still carries, and the process, with 0."""
    client = at.lab.open("host", ("::1", 8080))
    ask(client)
    predecessor = succeed(at)
    ask(client)
    predecessor.terminate()
    assert predecessor.wait(START) == 0
    assert ended(client)


def test_nobody_to_replace_is_no_error(at: Installation) -> None:
    """`--replace` on a state where no agent runs starts one, also after one was killed."""
    at.agent.kill()
    at.agent.start()
    assert at.lab.can_reach("host", ("::1", 8080))


def test_without_replace_a_second_agent_is_refused(at: Installation) -> None:
    """An agent takes over from nobody unless it is told to."""
    with pytest.raises(AssertionError, match="is in use by the agent with pid"):
        AgentProcess(at.lab, at.agent.directory, subnet="10.0.42.1/24", loopback="proxy").start()
    assert at.client.hello().pid == at.agent.pid


def test_a_stranger_gets_nothing(at: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    """A predecessor of another user is not believed."""
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr("moorage.handover.peer_of", lambda _sock: type("Peer", (), {"uid": 4712}))
    with pytest.raises(Refused, match="belongs to another user"):
        Predecessor.find(at.agent.state, START)


def ended(client: Socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True
