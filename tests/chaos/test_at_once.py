"""Several disturbances at once, each between two others."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from agents import until
from chaos.agreeing import agree, eventually
from chaos.disks import fill, small_disk
from chaos.linux_machine import flush
from chaos.load import Load
from chaos.twins import Twin
from chaos.victim import Victim
from chaos.worker import Worker
from lab import Lab
from moorage import Client

pytestmark = pytest.mark.system

SEED = 2013
CLIENTS = 4
WORK = 30
"""Answers that clients get between two disturbances."""
STARTS = (
    "control.journal:Journal.begin/before",
    "store.store:Store.open/after",
    "control.port_mapper:PortMapper._reload/before",
    "control.proxies:Proxies.begin/after",
    "control.gateway:Gateway.begin/after",
)
ENDS = (
    "control.gateway:Gateway.end/before",
    "control.port_mapper:PortMapper.end/before",
    "control.journal:Journal.end/before",
    "control.journal:Journal.end/after",
)


class Scene:
    """An agent on the real kernel, and clients with containers that work while it is disturbed."""

    def __init__(self, victim: Victim, load: Load) -> None:
        """The agent runs, the clients have worked."""
        self.victim, self.load = victim, load

    def work(self) -> None:
        """Let clients work on, and go on without waiting for the end of it."""
        self.load.go()
        enough = self.load.answered + WORK
        until(lambda: self.load.answered >= enough, 60.0)  # nobody promises how much work a busy machine does

    def settle(self, victim: Victim) -> None:
        """All agree with that agent, now and after more work."""
        for _ in range(2):
            self.load.pause()
            eventually(lambda: agree(victim, self.load.told))
            self.work()
        self.load.pause()


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    with Lab() as lab, Victim(directory, lab) as victim:
        workers = [
            Worker(n, SEED, Client(victim.socket, pauses=()), [lab.container(f"c{n}")])
            for n in range(CLIENTS)
        ]
        with Load(workers) as load:
            made = Scene(victim, load)
            made.work()
            yield made


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Scene]:
    with scene(tmp_path) as made:
        yield made


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_while_rules_are_flushed_on_a_full_disk(tmp_path: Path, moment: str) -> None:
    """With the disk full, rules flushed and the agent killed over it, the next one serves all there was."""
    with small_disk(tmp_path / "state") as disk, scene(tmp_path) as at:
        at.load.pause()
        filler = fill(disk)
        at.victim.order(f"control.port_mapper:PortMapper._look/{moment}", 1)
        at.victim.lab.call("host", flush)
        assert at.victim.dies(10)
        assert at.victim.kill() == -signal.SIGKILL
        at.victim.start()
        eventually(lambda: agree(at.victim, at.load.told))
        filler.unlink()
        at.settle(at.victim)


def test_a_start_while_another_is_stopping(at: Scene, tmp_path: Path) -> None:
    """Who starts too early is refused and disturbs nothing; who starts in time serves."""
    with Twin(at.victim, tmp_path / "twin") as twin:
        os.kill(at.victim.pid, signal.SIGTERM)
        with at.victim.asleep():
            assert not twin.serves()
        until(twin.serves)
        assert at.victim.terminate() == 0
        at.settle(twin)


def test_two_starts_at_once(at: Scene, tmp_path: Path) -> None:
    """Of two that start over a killed one, one serves, and the other is refused."""
    with (
        Twin(at.victim, tmp_path / "a") as one,
        Twin(at.victim, tmp_path / "b") as other,
        ThreadPoolExecutor(2) as pool,
    ):
        at.victim.kill()
        served = list(pool.map(Twin.serves, (one, other)))
        assert sorted(served) == [False, True]
        at.settle(one if served[0] else other)


@pytest.mark.parametrize("point", STARTS)
def test_a_replacement_that_is_killed(at: Scene, tmp_path: Path, point: str) -> None:
    """The former agent goes on with all it had, and another replacement succeeds."""
    with Twin(at.victim, tmp_path / "twin", replacing=True) as twin:
        assert twin.start_dying(point)
        at.settle(at.victim)
        at.work()
        assert twin.serves()
        at.settle(twin)
        assert at.victim.terminate() == 0, at.victim.said()


@pytest.mark.parametrize("point", ENDS)
def test_a_replacement_of_one_that_is_killed(at: Scene, tmp_path: Path, point: str) -> None:
    """Killed while it hands over, the former leaves all to its successor, or to the next that is started."""
    with Twin(at.victim, tmp_path / "twin", replacing=True) as twin:
        at.victim.order(point, 1)
        if not twin.serves():
            assert twin.serves()
        assert at.victim.kill() == -signal.SIGKILL
        at.settle(twin)
