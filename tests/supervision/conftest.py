"""Both runtimes, for the same tests."""

from __future__ import annotations

from collections.abc import Iterator

import pykka
import pytest
import structlog

from moorage.supervision.directory import Directory
from moorage.supervision.loop import EventLoop
from supervision.rig import PATIENCE, Stage


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """Deaths are what these tests are about; who wants to see them captures them himself."""
    with structlog.testing.capture_logs():
        yield


@pytest.fixture
def events() -> Iterator[EventLoop]:
    events = EventLoop().start()
    yield events
    pykka.ActorRegistry.stop_all(timeout=PATIENCE)
    events.close()


@pytest.fixture(params=["thread", "loop"])
def stage(request: pytest.FixtureRequest, events: EventLoop) -> Stage:
    return Stage(request.param == "thread", Directory(), events)


@pytest.fixture
def threads(events: EventLoop) -> Stage:
    return Stage(True, Directory(), events)


@pytest.fixture
def loops(events: EventLoop) -> Stage:
    return Stage(False, Directory(), events)
