"""The line for somebody who waits."""

from __future__ import annotations

import io
import threading

from moorage.cli.progress import waiting

PATIENCE = 10.0


class Screen(io.StringIO):
    """A terminal that says when something is written to it."""

    def __init__(self, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal
        self.written = threading.Event()

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def test_a_long_wait_is_announced_and_wiped() -> None:
    """On a terminal the text is shown while the body goes on, and is gone after it."""
    screen = Screen(terminal=True)
    with waiting("waiting …", screen, after=0):
        assert screen.written.wait(PATIENCE)

    assert screen.getvalue() == "waiting …\r\x1b[K"


def test_a_short_wait_is_not() -> None:
    """What ends in time shows nothing."""
    screen = Screen(terminal=True)
    with waiting("waiting …", screen, after=PATIENCE):
        pass

    assert screen.getvalue() == ""


def test_only_terminals_are_told() -> None:
    """Into a file or a pipe nothing is written, and no thread is started for it."""
    screen = Screen(terminal=False)
    with waiting("waiting …", screen, after=0):
        threads = threading.enumerate()

    assert (screen.getvalue(), threads) == ("", [threading.main_thread()])
