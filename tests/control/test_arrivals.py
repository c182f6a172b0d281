"""Clients that come at the very moment when the agent goes."""

from __future__ import annotations

import gc
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from moorage import Agent, Config

HELLO = b"\x94\x00\x01\xa5hello\x90"
ROUNDS = 20


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No garbage collector that closes what was lost, and hides that."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("uncollected")
def test_whoever_was_accepted_is_answered_or_let_go(tmp_path: Path) -> None:
    """A client accepted while the agent stops is not left without an answer while the process lives on."""
    agent = Agent(Config(kernel="memory", state=tmp_path / "state", subnet="10.0.42.1/24"))

    def call(over: threading.Event) -> None:
        while not over.is_set():
            with socket.socket(socket.AF_UNIX) as made, suppress(FileNotFoundError, ConnectionError):
                made.settimeout(10)
                made.connect(str(agent.socket))
                made.sendall(HELLO)
                made.recv(1000)

    for _ in range(ROUNDS):
        agent.start()
        over = threading.Event()
        with ThreadPoolExecutor(4) as pool:
            calls = [pool.submit(call, over) for _ in range(4)]
            agent.stop()
            over.set()
            for each in calls:
                each.result()
