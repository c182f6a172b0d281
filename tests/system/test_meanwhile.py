"""Whoever comes from outside while a port is being published, or taken back, is seen as himself or not at all."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

import packets
from agents import AgentProcess, until
from echo_server import ask
from installation import Installation, installed
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.errors import MoorageError
from moorage.kernel.linux.nftables import Nftables
from packets import ACK, Ends

pytestmark = pytest.mark.system

LAUNCHER = Path(__file__).parents[1] / "chaos" / "launch.py"
SIDES = pytest.mark.parametrize(("host", "outside"), [(HOST, OUTSIDE), (HOST6, OUTSIDE6)], ids=["v4", "v6"])
MOST = 500
"""Connections that are begun at once."""
TIMES = 6
"""How often a port is published: the moments were met in half of these at least."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation, with ports published and taken back by one test after the other."""
    with installed(tmp_path_factory.mktemp("meanwhile")) as made:
        yield made


@contextlib.contextmanager
def going_on(at: Installation, work: Callable[[threading.Event, threading.Event], None]) -> Iterator[None]:
    """Do `work` outside, from before the block until it ends: it sets one event, and is told by the other."""
    began, over = threading.Event(), threading.Event()
    thread = threading.Thread(target=at.lab.call, args=("outside", work, began, over))
    thread.start()
    try:
        assert began.wait(5)
        yield
    finally:
        over.set()
        thread.join()


class Caller:
    """Connects to one port again and again, and asks as whom it is seen."""

    def __init__(self, host: str, port: int) -> None:
        """Begin with nobody."""
        self._place = (host, port)
        self.seen: set[str] = set()
        """As whom."""
        self.answered = threading.Event()

    def call(self, began: threading.Event, over: threading.Event) -> None:
        """Go on until it is over; a segment that is lost is not waited for."""
        while not over.is_set():
            with contextlib.suppress(OSError), socket.create_connection(self._place, 0.1) as made:
                self.seen.add(ask(made).peer)
                self.answered.set()
            began.set()
            over.wait(0.0005)


@SIDES
def test_who_connects_is_seen_as_himself(at: Installation, host: str, outside: str) -> None:
    """No connection from outside comes by the proxy, before the rules are there or after they are gone."""
    seen: set[str] = set()
    for port in range(9900, 9900 + TIMES):
        caller = Caller(host, port)
        with going_on(at, caller.call):
            at.client.publish("web", [f"{port}:80"])
            assert caller.answered.wait(5)
            at.client.unpublish("web", [f"{port}:80"])
        seen |= caller.seen
    assert seen == {outside}


class Persistent:
    """Connects to one port again and again, and leaves each attempt to the system, which sends lost segments again."""

    def __init__(self, at: Installation, host: str, port: int) -> None:
        """Begin with nobody."""
        self._at, self._place = at, (host, port)
        self._made: list[socket.socket] = []

    def call(self, began: threading.Event, over: threading.Event) -> None:
        """Go on until it is over."""
        while not over.is_set() and len(self._made) < MOST:
            made = socket.socket(socket.AF_INET6 if ":" in self._place[0] else socket.AF_INET)
            made.setblocking(False)
            made.connect_ex(self._place)
            self._made.append(made)
            began.set()
            over.wait(0.0005)

    def seen(self) -> set[str]:
        """As whom it is, once each attempt has come to something, of those that were not refused."""
        found = set()
        for made in self._made:
            with made:
                waiting = select.poll()  # which takes any number of descriptors
                waiting.register(made, select.POLLOUT)
                assert waiting.poll(10_000), "an attempt came to nothing"
                if not made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                    made.settimeout(5)
                    found.add(ask(made).peer)
        return found


@SIDES
def test_who_tries_again_is_seen_as_himself(at: Installation, host: str, outside: str) -> None:
    """Whose first segment fell into the moment of publishing is led by the rules when it is sent again."""
    seen = set()
    for port in range(9700, 9700 + TIMES // 2):
        for _ in range(2):  # the second time there is a proxy that has just stopped
            caller = Persistent(at, host, port)
            with going_on(at, caller.call):
                at.client.publish("web", [f"{port}:80"])
            seen |= caller.seen()
            at.client.unpublish("web", [f"{port}:80"])
    assert seen == {outside}


@SIDES
@pytest.mark.parametrize("port", [950, 9950, 40950], ids=["low", "masqueraded", "high"])
def test_what_nobody_answers_leads_nobody_past_the_rules(
    at: Installation, host: str, outside: str, port: int
) -> None:
    """Who sent a segment that the host drops without a word, before a port was published, is seen as himself."""
    ends = Ends(outside, port + 1, host, port)
    packets.send(at.lab, "outside", packets.tcp(ends, ACK, 1, 1, options=packets.SIGNATURE))
    at.client.publish("web", [f"{port}:80"])
    with at.lab.socket("outside", ends.family) as client:
        client.bind((outside, port + 1))
        client.connect((host, port))
        assert ask(client).peer == outside
    at.client.unpublish("web", [f"{port}:80"])


@SIDES
def test_who_sends_is_seen_as_himself(at: Installation, host: str, outside: str) -> None:
    """Who sends datagrams from before a port is published is the kernel's from then on, and seen as himself."""
    seen = [_as_whom_is_seen(at, host, port) for port in range(9800, 9800 + TIMES)]
    assert set(seen) == {outside}, seen


def test_who_sends_while_rules_are_gone(at: Installation) -> None:
    """Who begins to send datagrams while there are no rules is the kernel's once they are put right."""
    nftables = at.lab.call("host", Nftables)
    with contextlib.ExitStack() as stack:
        senders = {HOST: _sender(at, HOST), HOST6: _sender(at, HOST6)}
        events = stack.enter_context(at.agent.events("repaired"))
        os.kill(at.agent.pid, signal.SIGSTOP)  # its proxies have answers to send when it puts the rules right
        nftables.run("flush chain inet moorage publish")
        with contextlib.ExitStack() as sending:
            for host, sender in senders.items():
                sending.enter_context(going_on(at, partial(send, stack.enter_context(sender), (host, 8080))))
            os.kill(at.agent.pid, signal.SIGCONT)
            events.named("repaired")
        assert [said(sender, (host, 8080)) for host, sender in senders.items()] == [OUTSIDE, OUTSIDE6]
    nftables.close()


def _sender(at: Installation, host: str) -> socket.socket:
    return at.lab.socket("outside", socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)


def _as_whom_is_seen(at: Installation, host: str, port: int) -> str:
    with _sender(at, host) as sender:
        with going_on(at, partial(send, sender, (host, port))):
            at.client.publish("web", [f"{port}:80/udp"])
        answer = said(sender, (host, port))
        at.client.unpublish("web", [f"{port}:80/udp"])
    return answer


def send(sender: socket.socket, to: tuple[str, int], began: threading.Event, over: threading.Event) -> None:
    while not over.is_set():
        with contextlib.suppress(ConnectionRefusedError):
            sender.sendto(b"early\n", to)
        began.set()
        over.wait(0.002)


def said(sender: socket.socket, to: tuple[str, int]) -> str:
    """Who the container says that it saw, when it is asked now."""
    answer = b""
    sender.settimeout(0.5)
    while not answer.endswith(b"late\n"):
        with contextlib.suppress(ConnectionRefusedError, TimeoutError):
            sender.sendto(b"late\n", to)
            while not answer.endswith(b"late\n"):
                answer = sender.recv(100)
    return answer.split()[0].decode()


class Killed(AgentProcess):
    """One that can be told to be killed at a point of `chaos/crash_points.py`."""

    def _argv(self) -> list[str]:
        return [sys.executable, str(LAUNCHER), str(self.directory / "order"), "-", *super()._argv()[3:]]

    def order(self, point: str) -> None:
        """Have it killed there, the first time that it comes by; it has heard of it when this returns."""
        order = self.directory / "order"
        order.write_text(f"{point} 1 kill")
        os.kill(self.pid, signal.SIGUSR2)
        until(lambda: not order.exists())


@SIDES
def test_who_sends_while_the_agent_is_killed(tmp_path: Path, host: str, outside: str) -> None:
    """Killed between the rules and the end of former connections, it has left nobody with the proxy when it is back."""
    with Lab() as lab, Killed(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        at = Installation(lab, agent)
        with _sender(at, host) as sender:
            with going_on(at, partial(send, sender, (host, 9600))):
                agent.order("control.port_mapper:PortMapper._apply/after")
                with contextlib.suppress(OSError, MoorageError):
                    at.client.publish("web", ["9600:80/udp"])
                assert agent.ended() == -signal.SIGKILL
                agent.start()
            until(lambda: said(sender, (host, 9600)) == outside)
