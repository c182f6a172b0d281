"""What happens when the process has no descriptor left."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.harness import PATIENCE, Harness, abort, read_exactly

PROGRAM = Path(__file__).with_name("descriptors.py")


class Starved:
    """The program that runs out of descriptors."""

    def __init__(self, backend_port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, PROGRAM, str(backend_port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.port = self._read()

    def turns(self) -> int:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        self._process.communicate(timeout=PATIENCE)

    def _read(self) -> int:
        assert self._process.stdout is not None
        while not (line := self._process.stdout.readline().strip()).isdigit():
            assert line, "the program ended"
        return int(line)


@pytest.fixture
def backend(harness: Harness) -> object:
    return harness.bind(1)


@pytest.fixture
def starved(backend: object) -> Iterator[Starved]:
    program = Starved(backend.getsockname()[1])  # type: ignore[attr-defined]  # the fixture above
    yield program
    program.close()


def test_out_of_descriptors(harness: Harness, backend: object, starved: Starved) -> None:
    """Clients there is no descriptor for are reset, without spinning, and those who come when there is are served."""
    address = ("127.0.0.1", starved.port)
    served = []
    for _ in range(2):
        client = harness.connect(address)
        server = harness.accept(backend)  # type: ignore[arg-type]  # the fixture above
        client.sendall(b"in")
        assert read_exactly(server, 2) == b"in"
        served.append((client, server))
    begun = time.monotonic()
    before = starved.turns()
    for _ in range(3):
        with pytest.raises(ConnectionResetError):  # by connect, if the reset is quicker than its answer
            harness.connect(address).recv(1)
    assert time.monotonic() - begun >= 0.2  # two rests between three resets
    assert starved.turns() - before < 20
    abort(served[0][0])
    with pytest.raises(ConnectionResetError):
        served[0][1].recv(1)
    client = harness.connect(address)
    client.sendall(b"well")
    assert read_exactly(harness.accept(backend), 4) == b"well"  # type: ignore[arg-type]  # the fixture above
    served[1][0].sendall(b"on")
    assert read_exactly(served[1][1], 2) == b"on"
