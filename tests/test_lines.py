"""Lines of a log whose reader stops reading, ends, or reads again."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from moorage.lines import BACKLOG, Lines

LINE = "x" * 199


class Reader:
    """What reads the lines: a pipe, or a socket as a service manager has it."""

    def __init__(self, kind: str) -> None:
        """Make both ends."""
        if kind == "pipe":
            self.end, self.writer = os.pipe()
        else:
            ends = socket.socketpair()
            self.end, self.writer = ends[0].detach(), ends[1].detach()
        os.set_blocking(self.end, False)
        self.stream = os.fdopen(self.writer, "w", buffering=1)

    def read(self) -> str:
        """All that has come."""
        got = b""
        try:
            while piece := os.read(self.end, 1 << 20):
                got += piece
        except BlockingIOError:
            pass
        return got.decode()


@pytest.fixture(params=["pipe", "socket"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    """A reader of each kind."""
    made = Reader(request.param)
    yield made
    made.stream.close()
    os.close(made.end)


def all_of(reader: Reader, lines: Lines) -> list[str]:
    """Read until nothing comes any more."""
    got = ""
    while more := reader.read():
        got += more
        lines.flush()
    return got.split("\n")[:-1]


def test_nobody_waits_for_a_reader(reader: Reader) -> None:
    """While nobody reads, lines wait, and whoever writes them does not; read again, they come whole and in order."""
    lines = Lines(reader.stream)
    written = [f"{number} {LINE}" for number in range(3000)]
    for line in written:
        lines.line(line)
    assert lines.lost() == 0
    assert all_of(reader, lines) == written


def test_what_waits_is_bounded(reader: Reader) -> None:
    """Past the bound lines are lost, whole ones, the latest; how many is told once all that waited was written."""
    lines = Lines(reader.stream)
    number = BACKLOG // len(LINE) * 2
    for each in range(number):
        lines.line(f"{each:06} {LINE}")
    lost = 0
    got = ""
    while more := reader.read():
        got += more
        lines.flush()
        lost += lines.lost()
    assert got.split("\n")[:-1] == [f"{each:06} {LINE}" for each in range(number - lost)]
    assert 0 < lost < number
    assert lines.lost() == 0
    lines.line("after it")
    assert reader.read() == "after it\n"


def test_a_long_line_is_not_cut(reader: Reader) -> None:
    """A line that is longer than the reader has room for comes whole, before the next."""
    lines = Lines(reader.stream)
    lines.line("a" * 300_000)
    lines.line("b")
    assert all_of(reader, lines) == ["a" * 300_000, "b"]


def test_an_end_waits_for_a_reader_that_is_slow(reader: Reader) -> None:
    """What waits at the end is written while somebody reads."""
    lines = Lines(reader.stream)
    for _ in range(3000):
        lines.line(LINE)
    got: list[str] = []
    reads = threading.Event()

    def read() -> None:
        while not reads.wait(0.001):
            got.append(reader.read())

    slow = threading.Thread(target=read)
    slow.start()
    lines.close(10)
    reads.set()
    slow.join()
    assert "".join([*got, reader.read()]) == f"{LINE}\n" * 3000


def test_an_end_is_not_held_up_by_none(reader: Reader) -> None:
    """Where nobody reads, what waits is given up when the seconds are over."""
    lines = Lines(reader.stream)
    for _ in range(3000):
        lines.line(LINE)
    began = time.monotonic()
    lines.close(0.05)
    assert time.monotonic() - began < 5


def test_a_reader_that_has_gone_disturbs_nobody() -> None:
    """Lines for nobody are dropped."""
    made = Reader("pipe")
    lines = Lines(made.stream)
    os.close(made.end)
    for _ in range(2000):
        lines.line(LINE)
    assert lines.lost() == 0
    made.stream.close()
