"""What every test is held to: nothing left running, nothing skipped unseen, the host's network left alone."""

from __future__ import annotations

import os
import threading
from collections.abc import Generator, Iterator
from pathlib import Path

import pykka
import pytest
from hypothesis import settings

PATIENCE = 10.0
"""Seconds that actors and threads have to end after a test that has stopped them."""

os.environ["PATH"] = f"{Path(__file__).parent / 'programs'}:{os.environ['PATH']}"
"""What tests run is there on the smallest of systems, or is ours."""

settings.register_profile("moorage", deadline=None, derandomize=True)
settings.load_profile("moorage")


def pytest_configure() -> None:
    """Refuse to run in the host's own network when told that it is a private one."""
    if namespace_is_private() and same_network_as_init():
        pytest.exit("MOORAGE_TEST_NAMESPACE=1, but this is the host's network: run bin/test", returncode=2)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, by name, what would change a network that is not ours."""
    if item.get_closest_marker("system") and not namespace_is_private():
        pytest.skip(f"{item.name} needs a private network namespace: run bin/test")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test has failed."""
    report = yield
    fail_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """In CI a skipped module has failed."""
    report = yield
    fail_skipped(report)
    return report


def fail_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which counts as a failure in CI: {report.longrepr}"


def namespace_is_private() -> bool:
    return os.environ.get("MOORAGE_TEST_NAMESPACE") == "1"


def same_network_as_init() -> bool:
    """Whether this is the network namespace of pid 1; one that we may not look at is not ours."""
    try:
        return Path("/proc/1/ns/net").samefile("/proc/self/ns/net")
    except PermissionError:
        return False


@pytest.fixture(autouse=True)
def _nothing_left_running() -> Iterator[None]:
    """Stop every actor after a test, and fail the test that leaves a thread behind."""
    before = set(threading.enumerate())
    yield
    pykka.ActorRegistry.stop_all(timeout=PATIENCE)
    started = [thread for thread in threading.enumerate() if thread not in before]
    for thread in started:
        thread.join(PATIENCE / len(started))
    left = [thread.name for thread in started if thread.is_alive()]
    assert not left, f"threads left running: {', '.join(left)}"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A state directory that does not exist yet."""
    return tmp_path / "state"
