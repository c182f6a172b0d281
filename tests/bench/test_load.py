"""The load generator of the data plane's benchmark finds what a data plane does wrong."""

from __future__ import annotations

import shutil
import socket
import struct
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest

from bench.programs import BENCH

SOURCES = sorted(map(str, (BENCH / "plane" / "load").glob("*.c")))
PATIENCE = 20.0
DOWNLOAD = struct.pack("III", 1, 64, 60_000)
"""What a client says first: that it wants bytes, for a minute."""

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="the load generator needs a C compiler (cc)"
)

Change = Callable[[bytes, int], bytes]
"""What a relay makes of bytes from the server, the first of which has that place in the stream."""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The compiled program, without a warning."""
    path = str(tmp_path_factory.mktemp("load") / "load")
    subprocess.run(["cc", "-O2", "-std=c11", "-Wall", "-Wextra", "-Werror", "-o", path, *SOURCES], check=True)
    return path


@pytest.fixture
def server(program: str) -> Iterator[tuple[str, int]]:
    """A server on loopback, for streams and datagrams."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
    with subprocess.Popen([program, "serve", str(port)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield "127.0.0.1", port
        process.terminate()


class Relay:
    """Carries one client to a server, and changes what comes back."""

    def __init__(self, server: tuple[str, int], change: Change) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(PATIENCE)
        self._server = server
        self._change = change
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def address(self) -> tuple[str, int]:
        name: tuple[str, int] = self._listener.getsockname()
        return name

    def close(self) -> None:
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        client, _ = self._listener.accept()
        with client, socket.create_connection(self._server, PATIENCE) as backend:
            there = threading.Thread(target=_copy, args=(client, backend, lambda data, _: data))
            there.start()
            _copy(backend, client, self._change)
            there.join()


def _copy(source: socket.socket, sink: socket.socket, change: Change) -> None:
    """Until either side has had enough; then both are told."""
    at = 0
    with suppress(OSError):
        while data := source.recv(1 << 16):
            sink.sendall(change(data, at))
            at += len(data)
    for sock in (source, sink):
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


def run(program: str, mode: str, to: tuple[str, int], *numbers: int) -> subprocess.CompletedProcess[str]:
    argv = [program, mode, to[0], str(to[1]), *map(str, numbers)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE, check=False)


def through(program: str, server: tuple[str, int], change: Change, mode: str) -> str:
    """What the client says of a relay that changes bytes so."""
    relay = Relay(server, change)
    done = run(program, mode, relay.address, 1, 50)
    relay.close()
    assert done.returncode == 1, done.stdout
    return done.stderr


def flipped(at: int) -> Change:
    """One byte of the stream is another."""

    def change(data: bytes, start: int) -> bytes:
        if not start <= at < start + len(data):
            return data
        where = at - start
        return data[:where] + bytes([data[where] ^ 1]) + data[where + 1 :]

    return change


@pytest.mark.parametrize("mode", ["up", "down", "echo", "once", "udp", "flows", "flood"])
def test_a_faithful_path_has_nothing_against_it(program: str, server: tuple[str, int], mode: str) -> None:
    """Every mode ends well where nothing is in between."""
    done = run(program, mode, server, 2, 20, 200, 1000)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_flipped_byte_of_bulk_is_found(program: str, server: tuple[str, int]) -> None:
    """One wrong byte far into a download ends the run."""
    assert "wrong bytes in block 1" in through(program, server, flipped(200_000), "down")


def test_a_flipped_byte_of_a_message_is_found(program: str, server: tuple[str, int]) -> None:
    """One wrong byte of one message ends the run."""
    assert "wrong bytes in message 1" in through(program, server, flipped(100), "echo")


def test_a_truncated_download_is_found(program: str, server: tuple[str, int]) -> None:
    """A clean end of a stream before its last block is an error, as a proxy that drops a tail makes it."""
    assert "ended within a block" in through(
        program, server, lambda data, at: data if at < 300_000 else b"", "down"
    )


def test_a_swapped_block_is_found(program: str, server: tuple[str, int]) -> None:
    """Bytes that are right and come in another place are wrong."""
    kept: list[bytes] = []

    def late(data: bytes, at: int) -> bytes:
        if at == 0:
            kept.append(data)
        return data if at else b""

    assert "block 0 came as" in through(program, server, late, "down")
    assert kept


def test_the_server_outlives_its_clients(program: str, server: tuple[str, int]) -> None:
    """A client that resets its connection in the middle of a download does not end the server."""
    with socket.create_connection(server, PATIENCE) as client:
        client.sendall(DOWNLOAD)
        assert client.recv(1 << 16)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert run(program, "down", server, 1, 20).returncode == 0
