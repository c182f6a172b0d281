"""An agent that is stopped, killed and started again, while its published ports are in use."""

from __future__ import annotations

import hashlib
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from echo_server import ask
from installation import Installation, installed
from lab import HOST, HOST6, OUTSIDE, Socket
from moorage.kernel.linux import elements
from moorage.kernel.linux.nfnetlink import Netlink

pytestmark = pytest.mark.system

ENDS = [signal.SIGTERM, signal.SIGKILL]
KERNEL_PATHS = (
    *(("outside", HOST), ("outside", HOST6), ("host", HOST), ("host", "127.0.0.1")),
    *(("peer", HOST), ("web", HOST), ("lone", HOST)),
)
BLOCK = bytes(range(256)) * 256
BLOCKS = 200
"""Blocks of 64 KiB in a download: 12.5 MiB."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation whose agent comes and goes."""
    with installed(tmp_path_factory.mktemp("replacement")) as made:
        yield made


@pytest.mark.parametrize("how", ENDS, ids=lambda how: how.name)
def test_connections_survive(at: Installation, how: signal.Signals) -> None:
    """Connections by the kernel go on while there is no agent, and under the next one, as do UDP flows."""
    kept = [
        at.lab.open(name, (to, 8080), proto)
        for name, to in [*KERNEL_PATHS, ("web", OUTSIDE)]
        for proto in ("tcp", "udp")
        if to != OUTSIDE
    ]
    out = at.lab.open("web", (OUTSIDE, 80))
    for each in (*kept, out):
        ask(each)

    status = at.agent.terminate() if how is signal.SIGTERM else at.agent.kill()
    without = [ask(each).server for each in (*kept, out)]
    at.agent.start()

    assert status == (0 if how is signal.SIGTERM else -signal.SIGKILL)
    assert without == ["web"] * len(kept) + ["outside"]
    assert [ask(each).server for each in (*kept, out)] == without


@pytest.mark.parametrize("how", ENDS, ids=lambda how: how.name)
def test_a_download_survives(at: Installation, how: signal.Signals) -> None:
    """A download that is in the middle when its agent ends arrives whole."""
    with downloading(at) as (client, middle, proceed):
        digest, size = hashlib.sha256(), 0
        while piece := client.recv(1 << 16):
            digest.update(piece)
            size += len(piece)
            if size > len(BLOCK) * BLOCKS // 2 and not proceed.is_set():
                assert middle.is_set()
                at.agent.replace(how)
                proceed.set()

    assert proceed.is_set()
    assert digest.digest() == hashlib.sha256(BLOCK * BLOCKS).digest()


@pytest.mark.parametrize("how", ENDS, ids=lambda how: how.name)
def test_new_connections_are_never_refused(at: Installation, how: signal.Signals) -> None:
    """Somebody who connects all the time is answered every time."""
    with connecting(at, [("outside", HOST), ("outside", HOST6), ("host", "127.0.0.1")]) as outcomes:
        at.agent.replace(how)
    assert len(outcomes) > 10
    assert {name for name, reached in outcomes if not reached} == set()


def test_journal_kernel_and_answers_agree(at: Installation) -> None:
    """After a kill in the middle of many requests, what is told, what the rules have and what answers is one."""
    with at.container("busy"):
        middle = threading.Event()
        told = threading.Thread(target=publish_many, args=(at, middle))
        told.start()
        assert middle.wait(10)
        at.agent.replace(signal.SIGKILL)
        told.join()
        busy = at.client.inspect("busy")
        ports = {each.host_port for each in busy.ports}
        assert ports == {*range(9000, 9030)}
        assert rules(at, busy.ip) == ports
        assert all(at.lab.can_reach("outside", (HOST, port)) for port in (9000, 9029))
    assert rules(at, busy.ip) == set()


def publish_many(at: Installation, middle: threading.Event) -> None:
    for port in range(9000, 9030):
        at.client.publish("busy", [f"{port}:80"])
        if port == 9005:
            middle.set()


def rules(at: Installation, backend: str) -> set[int]:
    """The host ports that lead to `backend`, as the kernel has them."""
    with at.lab.call("host", Netlink) as netlink:
        present = elements.read(netlink)
    return {int(each.key[1]) for each in present if each.container == "pub4_any" and each.value[0] == backend}


@contextmanager
def downloading(at: Installation) -> Iterator[tuple[Socket, threading.Event, threading.Event]]:
    """A client whose server sends half, then waits for the second event before it sends the rest."""
    middle, proceed = threading.Event(), threading.Event()
    with at.lab.socket("web", socket.AF_INET) as server:
        server.bind(("", 0))
        server.listen()
        at.client.publish("web", [f"8600:{server.getsockname()[1]}"])
        client = at.lab.open("outside", (HOST, 8600), timeout=30)
        sender = threading.Thread(target=send_halves, args=(server, middle, proceed))
        sender.start()
        try:
            yield client, middle, proceed
        finally:
            proceed.set()
            client.close()
            sender.join()
            at.client.unpublish("web", [f"8600:{server.getsockname()[1]}"])


def send_halves(server: Socket, middle: threading.Event, proceed: threading.Event) -> None:
    with server.accept()[0] as made:
        made.settimeout(30)
        made.sendall(BLOCK * (BLOCKS // 2))
        middle.set()
        made.sendall(BLOCK)
        proceed.wait(30)
        made.sendall(BLOCK * (BLOCKS // 2 - 1))


@contextmanager
def connecting(at: Installation, ways: list[tuple[str, str]]) -> Iterator[list[tuple[str, bool]]]:
    """Connect one after the other for the time of a block; gives who was answered and who was not."""
    outcomes: list[tuple[str, bool]] = []
    over = threading.Event()

    def connect() -> None:
        while not over.is_set():
            for name, to in ways:
                outcomes.append((f"{name}->{to}", at.lab.can_reach(name, (to, 8080))))

    thread = threading.Thread(target=connect, name="connecting")
    thread.start()
    try:
        yield outcomes
    finally:
        over.set()
        thread.join()
