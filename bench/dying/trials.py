"""What a publisher takes for its ports and connections, and what it does when things go wrong.

Each trial gives figures by name for the one publisher it is given.
"""

from __future__ import annotations

import os
import resource
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from plane import processes

from dying import streams
from dying.publishers import Publisher

FIRST_PORT = 20_000
"""Below the range of automatic and of ephemeral ports."""
ECHO, RAW = 7000, 7001
"""Published in the trials of connections."""
SPARE = 24
"""Descriptors that a publisher may still open when they are to run out."""
MOST = 64 << 20
"""Bytes after which a slow reader's proxy is said to take everything."""
CHUNK = bytes(1 << 16)
QUIET = 0.5
"""Seconds without progress after which a stream is stuck."""
Figures = dict[str, float]


@dataclass(frozen=True)
class Size:
    """How large the trials are."""

    ports: Sequence[int]
    idle: int
    crowd: int
    window: float
    """Seconds over which CPU is measured."""
    tries: int


def ports(publisher: Publisher, size: Size) -> Figures:
    """What so many published ports take, with nobody connected."""
    figures: Figures = {}
    published = 0
    for number in size.ports:
        publisher.publish(range(FIRST_PORT + published, FIRST_PORT + number))
        published = number
        memory = processes.memory(publisher.pids)
        figures |= {
            f"{number} ports/processes": len(publisher.pids),
            f"{number} ports/descriptors": descriptors(publisher),
            f"{number} ports/rss": memory["rss"],
            f"{number} ports/pss": memory["pss"],
        }
    return figures


def idle(publisher: Publisher, size: Size) -> Figures:
    """What a connection through the proxy takes that says nothing."""
    with echoing(publisher) as port:
        warm = [streams.dial(publisher.stage.room, port)]
        before, had = processes.memory(publisher.pids)["pss"], descriptors(publisher)
        crowd = _connected(publisher, port, size.idle)
        after, has = processes.memory(publisher.pids)["pss"], descriptors(publisher)
        streams.close_all(warm + crowd)
    return {
        "idle connection/pss": (after - before) * 1024 / size.idle,
        "idle connection/descriptors": (has - had) / size.idle,
    }


def out_of_descriptors(publisher: Publisher, size: Size) -> Figures:
    """More clients than descriptors, for a while: CPU meanwhile, what is broken, whether it serves afterwards."""
    with echoing(publisher) as port:
        early = _connected(publisher, port, 5)
        with limited(publisher, SPARE):
            crowd = _dialled(publisher, port, size.crowd)
            used = _share_of_cpu(publisher, size.window)
            broken = sum(not streams.answers(each) for each in early)
            streams.close_all(crowd)
            time.sleep(size.window)
            served = streams.answered(publisher.stage.room, port, size.tries)
        streams.close_all(early)
    return {
        "out of descriptors/cpu": used,
        "out of descriptors/broken connections of 5": broken,
        f"out of descriptors/refused afterwards of {size.tries}": size.tries - served,
        "out of descriptors/processes that ended": sum(not alive(pid) for pid in publisher.pids),
    }


def slow_readers(publisher: Publisher, size: Size) -> Figures:
    """Clients that read nothing from servers that send all they can: memory for each."""
    with raw(publisher) as (port, listener):
        before = processes.memory(publisher.pids)["rss"]
        pairs = [_pair(publisher, port, listener) for _ in range(size.tries)]
        taken = [_stuff(server) for _, server in pairs]
        after = processes.memory(publisher.pids)["rss"]
        streams.close_all([each for pair in pairs for each in pair])
    return {
        "slow reader/rss": (after - before) / size.tries,
        "slow reader/bytes taken": sum(taken) / len(taken) / 2**20,
    }


def resets(publisher: Publisher, size: Size) -> Figures:
    """Resets of one side that reach the other as a clean end."""
    with raw(publisher) as (port, listener):
        to_client = sum(not _reset(_pair(publisher, port, listener)) for _ in range(size.tries))
        to_server = sum(not _reset(_pair(publisher, port, listener)[::-1]) for _ in range(size.tries))
    return {
        f"reset/told the client as an end of {size.tries}": to_client,
        f"reset/told the server as an end of {size.tries}": to_server,
    }


def killed(publisher: Publisher, size: Size) -> Figures:
    """SIGKILL of what carries the bytes: connections that break, new ones that are not taken."""
    with echoing(publisher) as port:
        crowd = _connected(publisher, port, size.tries)
        publisher.kill()
        broken = sum(not streams.answers(each) for each in crowd)
        refused = size.tries - streams.answered(publisher.stage.room, port, size.tries)
        figures: Figures = {
            f"killed/connections broken of {size.tries}": broken,
            f"killed/connections refused of {size.tries}": refused,
        }
        if publisher.restart():
            again = size.tries - streams.answered(publisher.stage.room, port, size.tries)
            figures[f"killed/connections refused after the restart of {size.tries}"] = again
        streams.close_all(crowd)
    return figures


TRIALS: tuple[Callable[[Publisher, Size], Figures], ...] = (
    ports,
    idle,
    out_of_descriptors,
    slow_readers,
    resets,
    killed,
)


@contextmanager
def echoing(publisher: Publisher) -> Iterator[int]:
    """A published port behind which an echo is."""
    with streams.Echo(publisher.stage.container.path, ECHO):
        publisher.publish([ECHO])
        yield ECHO


@contextmanager
def raw(publisher: Publisher) -> Iterator[tuple[int, socket.socket]]:
    """A published port, and the socket that its server accepts from."""
    with streams.listener(publisher.stage.container.path, RAW) as listener:
        publisher.publish([RAW])
        yield RAW, listener


@contextmanager
def limited(publisher: Publisher, spare: int) -> Iterator[None]:
    """Let its processes open only so many descriptors more."""
    before = {pid: resource.prlimit(pid, resource.RLIMIT_NOFILE) for pid in publisher.pids}
    for pid, (_, hard) in before.items():
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (_open(pid) + spare, hard))
    yield
    for pid, limits in before.items():
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)


def descriptors(publisher: Publisher) -> int:
    """How many its processes have open."""
    return sum(map(_open, publisher.pids))


def _open(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208 - counted, not walked


def alive(pid: int) -> bool:
    """Whether a process has not ended; one that nobody has waited for yet has."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    return False


def _connected(publisher: Publisher, port: int, number: int) -> list[socket.socket]:
    """Connections that have been answered once."""
    found = [streams.dial(publisher.stage.room, port) for _ in range(number)]
    unanswered = sum(not streams.answers(each) for each in found)
    assert not unanswered, f"{publisher.name} did not answer {unanswered} of {number} connections"
    return found


def _dialled(publisher: Publisher, port: int, number: int) -> list[socket.socket]:
    """As many connections as can be had, answered or not."""
    found = []
    for _ in range(number):
        with suppress(OSError):
            found.append(streams.dial(publisher.stage.room, port))
            found[-1].sendall(b"x")
    return found


def _share_of_cpu(publisher: Publisher, window: float) -> float:
    """CPU that it takes, in cores."""
    before, began = processes.cpu(publisher.pids), time.monotonic()
    time.sleep(window)
    return (processes.cpu(publisher.pids) - before) / (time.monotonic() - began)


def _pair(publisher: Publisher, port: int, listener: socket.socket) -> tuple[socket.socket, socket.socket]:
    """A client's socket and that of its server."""
    client = streams.dial(publisher.stage.room, port)
    client.sendall(b"x")
    server, _ = listener.accept()
    server.settimeout(streams.PATIENCE)
    assert server.recv(1) == b"x"
    return client, server


def _reset(pair: tuple[socket.socket, socket.socket]) -> bool:
    """Reset one end; whether the other is told so."""
    streams.reset(pair[0])
    with pair[1]:
        return streams.saw_reset(pair[1])


def _stuff(sock: socket.socket) -> int:
    """Bytes that are taken before no more are."""
    sock.setblocking(False)
    taken = 0
    while taken < MOST and select.select([], [sock], [], QUIET)[1]:
        with suppress(BlockingIOError):
            taken += sock.send(CHUNK)
    return taken
