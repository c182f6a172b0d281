"""The calendar's clock set by a day, forward and back, under a process that works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import faketime
from agents import until
from chaos.agreeing import agree, eventually
from chaos.load import CLIENTS, Load
from chaos.processes import cpu
from chaos.victim import Victim
from chaos.worker import Worker
from echo_server import ask
from lab import Lab, Socket
from moorage import Client

pytestmark = pytest.mark.system

IDLE = 0.3
"""Seconds that it computes within one when it has nothing to do: libfaketime costs most of it."""
DAYS = (1, -1, 0)
"""How many days the clock is off, one after the other."""
WORK = 20
"""Answers between two settings."""


@dataclass
class Set:
    """An agent whose clock can be set, with a container that answers, and another host's UDP client."""

    victim: Victim
    clock: Path
    flow: Socket

    def by(self, days: int) -> None:
        """Set it, and see that the agent has the new time."""
        faketime.set_clock(self.clock, days)
        wanted = datetime.now(UTC) + timedelta(days=days)
        until(lambda: abs(self._now() - wanted) < timedelta(hours=1))

    def _now(self) -> datetime:
        created = self.victim.client.allocate("dated").created
        self.victim.client.release("dated")
        return datetime.fromisoformat(created)

    def computes(self) -> float:
        """How much of the next second it computes, in seconds."""
        before = cpu(self.victim.pid)
        assert not self.victim.dies(1.0)
        return cpu(self.victim.pid) - before


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    """One for both tests."""
    directory = tmp_path_factory.mktemp("clock")
    clock = directory / "clock"
    environment = faketime.environment(clock)
    if environment is None:
        pytest.skip("Debian's libfaketime is not in .peers: python tests/faketime.py")
    faketime.set_clock(clock, 0)
    settings = {"subnet": "10.0.42.1/16", "quarantine": 3600.0}
    with Lab() as lab, Victim(directory, lab, environment=environment, **settings) as victim:
        victim.client.allocate("web", netns=lab.container("web"), ports=["[::1]:8080:80/udp"])
        lab.echo_server("web", "udp", 80)
        yield Set(victim, clock, lab.open("host", ("::1", 8080), "udp"))


@contextmanager
def worked(victim: Victim) -> Iterator[Load]:
    """Clients that work meanwhile; afterwards all agree."""
    workers = [Worker(n, 2013, Client(victim.socket, pauses=())) for n in range(CLIENTS)]
    others = {each.id: each for each in victim.client.list()}
    with Load(workers) as load:
        load.go()
        yield load
        load.pause()
        eventually(lambda: agree(victim, load.told | others))


def test_nothing_expires(at: Set) -> None:
    """Whatever the clock says: requests are remembered, an address rests, a UDP client keeps its flow, clients work."""
    client = at.victim.client
    client.create_network("small", subnet="10.9.0.0/29")
    first = client.allocate("kept", ports=["80"], request="first")
    resting = client.allocate("gone", network="small").ip
    client.release("gone")
    flow = ask(at.flow).peer_port
    with worked(at.victim) as load:
        for days in DAYS:
            at.by(days)
            enough = load.answered + WORK
            until(lambda enough=enough: load.answered >= enough)  # type: ignore[misc]  # bound now
            assert client.allocate("kept", ports=["80"], request="first") == first
            assert ask(at.flow).peer_port == flow
    assert resting not in {client.allocate(f"s{number}", network="small").ip for number in range(4)}


def test_a_clock_set_while_it_is_away_ends_no_rest(at: Set) -> None:
    """An address that was released rests on in the next agent, whatever the calendar says by then."""
    client = at.victim.client
    client.create_network("away", subnet="10.8.0.0/29")
    resting = client.allocate("left", network="away").ip
    client.release("left")
    for days in DAYS:
        faketime.set_clock(at.clock, days)
        at.victim.replace()
        assert client.allocate(f"after{days}", network="away").ip != resting
    assert at.victim.client.allocate("last", network="away").ip != resting


def test_nothing_spins(at: Set) -> None:
    """A day forward or back costs no computing, and what others break is put right as soon as ever."""
    for days in DAYS:
        at.by(days)
        until(lambda: at.computes() < IDLE)
    at.victim.lab.run("host", ["ip", "link", "set", "moorage0", "down"])
    until(lambda: "UP" in at.victim.lab.run("host", ["ip", "link", "show", "moorage0"]).partition(">")[0])
