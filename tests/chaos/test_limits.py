"""Clients that take more than their share, and an agent that runs out of descriptors: others do not notice."""

from __future__ import annotations

import os
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgpack
import pytest

from agents import AgentProcess, until
from chaos.processes import cpu, descriptors, memory
from contract.wire import Wire
from echo_server import ask
from lab import Lab
from moorage import Client

pytestmark = pytest.mark.system

LONG = bool(os.environ.get("MOORAGE_SOAK_MINUTES"))
"""Whether there is time for the large numbers."""
REQUESTS = 1_000_000 if LONG else 100_000
CROWD = min(10_000 if LONG else 1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 3 // 25)
"""Clients of one port, less than its share; each takes two descriptors of the agent, and two of this process."""
INTERFACES = 300
NOTICED = 2.0
"""Seconds that an answer may take while somebody else does his worst, on two shared cores."""
SPARE = 64 << 20
"""Bytes that bad clients may cost."""


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent with 300 interfaces, a list of which is 100 KB."""
    directory = tmp_path_factory.mktemp("limits")
    with Lab() as lab, AgentProcess(lab, directory, kernel="memory", subnet="10.0.0.1/16") as agent:
        for number in range(INTERFACES):
            agent.client.allocate(f"i{number}", labels={"of": "x" * 100})
        yield agent


@contextmanager
def unnoticed(agent: AgentProcess) -> Iterator[None]:
    """Meanwhile and afterwards an old client and a new one are answered soon, and memory stays bounded."""
    before = memory(agent.pid)
    with Wire(agent.socket) as old:
        old.call("hello")
        yield
        for wire in (old, None):
            began = time.monotonic()
            if wire is None:
                with Wire(agent.socket) as new:
                    new.call("allocate", id="other")
                    new.call("release", id="other")
            else:
                wire.call("hello")
            assert time.monotonic() - began < NOTICED
        assert memory(agent.pid) - before < SPARE


def connect(agent: AgentProcess, stack: ExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_UNIX))
    made.connect(str(agent.socket))  # without a deadline: with one it is refused where the backlog is full
    made.settimeout(30)
    return made


def frame(msgid: int, method: str, *params: object) -> bytes:
    packed: bytes = msgpack.packb([0, msgid, method, list(params)])
    return packed


def test_a_thousand_silent_clients(agent: AgentProcess) -> None:
    """A thousand connections that say nothing, or half a frame, keep nobody out; those who ask are kept."""
    with ExitStack() as stack, unnoticed(agent):
        subscriber = stack.enter_context(Wire(agent.socket))
        subscriber.call("subscribe", events=["interface_released"])
        for number in range(1000):
            made = connect(agent, stack)
            if number % 2:
                made.send(b"\x94\x00")
        agent.client.release("none")
        agent.client.allocate("seen")
        agent.client.release("seen")
        assert subscriber.receive()[2][0]["id"] == "seen"


def test_a_client_that_never_reads(agent: AgentProcess) -> None:
    """A client that asks for the list a thousand times and reads nothing costs a few lists, not a thousand."""
    with ExitStack() as stack, unnoticed(agent):
        for _ in range(4):
            made = connect(agent, stack)
            made.setblocking(False)
            made.send(b"".join(frame(n, "list") for n in range(1000)))
        for _ in range(20):
            agent.client.list()


def test_answers_come_when_it_reads_at_last(agent: AgentProcess) -> None:
    """All that was asked without reading is answered once the client reads, each request once."""
    with ExitStack() as stack:
        made = connect(agent, stack)
        made.sendall(b"".join(frame(n, "list") for n in range(200)))
        unpacker, answered = msgpack.Unpacker(), []
        while len(answered) < 200:
            unpacker.feed(made.recv(1 << 16))
            answered += [reply[1] for reply in unpacker]
        assert sorted(answered) == list(range(200))


def test_requests_without_waiting(agent: AgentProcess) -> None:
    """A hundred thousand requests at once are all answered, while others are answered in between."""
    with ExitStack() as stack, unnoticed(agent):
        made = connect(agent, stack)
        made.setblocking(False)
        data = memoryview(b"".join(frame(n, "hello") for n in range(10_000)))
        sent = received = 0
        unpacker, count, worst = msgpack.Unpacker(), 0, 0.0
        other = stack.enter_context(Wire(agent.socket))
        while count < REQUESTS:
            if sent < REQUESTS // 10_000 * len(data):
                at = sent % len(data)
                with suppress(BlockingIOError):
                    sent += made.send(data[at : at + (1 << 16)])
            with suppress(BlockingIOError):
                unpacker.feed(made.recv(1 << 18))
            answered = sum(1 for _ in unpacker)
            count += answered
            received += 1
            if received % 50 == 0:
                began = time.monotonic()
                other.call("hello")
                worst = max(worst, time.monotonic() - began)
        assert count == REQUESTS
        assert worst < NOTICED


def test_gateway_without_descriptors(tmp_path: Path) -> None:
    """With no descriptor left the agent computes next to nothing, and serves again when there is one."""
    with Lab() as lab, AgentProcess(lab, tmp_path, kernel="memory") as agent, ExitStack() as stack:
        agent.client.hello()
        used = descriptors(agent.pid)
        resource.prlimit(agent.pid, resource.RLIMIT_NOFILE, (used + 5, used + 5))
        before = cpu(agent.pid)
        waiting = [connect(agent, stack) for _ in range(20)]
        until(lambda: agent.log("descriptors_exhausted"))
        began = time.monotonic()
        until(lambda: time.monotonic() - began > 1.5)
        assert cpu(agent.pid) - before < 0.5
        assert agent.client.hello()
        for each in waiting:
            each.close()
        with Client(agent.socket) as client:
            assert client.hello()
        assert len(agent.log("descriptors_exhausted")) == 1


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AgentProcess]:
    """An agent that carries everything itself, to servers of the host that have the container's address."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    directory = tmp_path_factory.mktemp("proxied")
    with Lab() as lab, AgentProcess(lab, directory, kernel="memory", subnet="10.0.42.1/24") as agent:
        lab.run("host", ["ip", "address", "add", "10.0.42.2/32", "dev", "lo"])
        for proto in ("tcp", "udp"):
            lab.echo_server("host", proto, 80)
        agent.client.allocate("web")
        yield agent


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_crowd_at_one_port(proxied: AgentProcess, proto: str) -> None:
    """Ever so many idle clients of one proxied port cost bounded memory, which they give back, and delay nobody."""
    agent, lab = proxied, proxied.lab
    agent.client.publish("web", [f"8080:80/{proto}", f"8081:80/{proto}"])
    lab.connect("host", ("127.0.0.1", 8081), proto)
    before, used = memory(agent.pid), descriptors(agent.pid)
    crowd = [lab.open("host", ("127.0.0.1", 8080), proto) for _ in range(CROWD)]
    for client in crowd:
        assert ask(client).payload == b"hello"
    assert memory(agent.pid) - before < SPARE
    began = time.monotonic()
    assert lab.connect("host", ("127.0.0.1", 8081), proto).server == "host"
    agent.client.hello()
    assert time.monotonic() - began < NOTICED
    for client in crowd:
        client.close()
    agent.client.unpublish("web")
    until(lambda: descriptors(agent.pid) <= used)
    assert memory(agent.pid) - before < SPARE
