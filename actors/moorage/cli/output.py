"""The standard streams: what is said, and what becomes of it where nobody takes it."""

from __future__ import annotations

import io
import os
import sys

from moorage.errors import Fault


def prepare_streams() -> None:
    """Give a process that was started without some of them all three, and let every name be printed.

    Without it a connection could get the number of standard error, and a complaint would go to standard output.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: PTH123, SIM115 - stays open
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # a name must not end us in a terminal without UTF-8


def say(text: str) -> None:
    """Print a line at once. Raises BrokenPipeError where its reader has gone, Fault where it cannot be written."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        abandon()
        why = f"the answer could not be written to standard output: {error.strerror}"
        raise Fault(f"{why}; what was asked for is done") from error


def abandon() -> None:
    """Nobody takes our output; keep the interpreter from flushing to them once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
