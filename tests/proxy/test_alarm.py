"""An alarm goes off once, when it is time."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator

import pytest

from moorage.proxy.alarm import Alarm
from proxy.harness import PATIENCE


class Bell:
    """An alarm, and how often it rang."""

    def __init__(self) -> None:
        self.rung = 0
        self.alarm = Alarm(self.ring)

    def ring(self) -> None:
        self.rung += 1

    def is_ready(self, seconds: float) -> bool:
        return bool(select.select([self.alarm.fd], [], [], seconds)[0])


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    yield made
    made.alarm.close()


@pytest.mark.parametrize("seconds", [-1.0, 0.0, 1e-9, 0.01])
def test_goes_off(bell: Bell, seconds: float) -> None:
    """It goes off when the time has passed, at once when that is past already, and then not again."""
    bell.alarm.set(seconds)
    assert bell.is_ready(PATIENCE)
    bell.alarm.ready(select.EPOLLIN)
    assert bell.rung == 1
    assert not bell.is_ready(0)


@pytest.mark.parametrize("seconds", [100.0, 1e12])
def test_far_away(bell: Bell, seconds: float) -> None:
    """It waits for what is far away, and rings for nobody who comes too early."""
    bell.alarm.set(seconds)
    assert not bell.is_ready(0)
    bell.alarm.ready(select.EPOLLIN)
    assert bell.rung == 0


def test_set_again(bell: Bell) -> None:
    """The last that was set counts."""
    bell.alarm.set(0.0)
    bell.alarm.set(100.0)
    assert not bell.is_ready(0)


def test_not_for_children(bell: Bell) -> None:
    """No program that is started gets it."""
    assert not os.get_inheritable(bell.alarm.fd)
