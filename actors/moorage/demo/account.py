"""What the demonstration says: sections, what was done, and what was seen."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Iterable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

from moorage.cli.main import main as run_command
from moorage.demo.traffic import Answer, Target, ask

WIDTH = 100


class Failed(Exception):
    """Something was not as said."""


def section(number: int, title: str) -> None:
    """Begin a section."""
    print(f"\n{number}. {title}", flush=True)


def say(text: str) -> None:
    """Explain."""
    print(textwrap.fill(text, WIDTH, initial_indent="   ", subsequent_indent="   "), flush=True)


def saw(ok: object, text: str) -> None:
    """Tell what was seen; raises Failed, with the same words, when it was not."""
    if not ok:
        raise Failed(f"this was to be seen and was not: {text}")
    print(f"   ok  {text}", flush=True)


def command(line: str, exit_code: int = 0) -> str:
    """Run `moorage LINE` as a user would, show it and return what it printed. Raises Failed for another exit code."""
    print(f"   $ moorage {line}", flush=True)
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(output):
        code = run_command(line.split())
    print(textwrap.indent(output.getvalue(), "     "), end="", flush=True)
    if code != exit_code:
        raise Failed(f"`moorage {line}` exited with {code} instead of {exit_code}")
    return output.getvalue()


def see(whence: str, pid: int, target: Target, expected: Answer) -> None:
    """See that the expected server answers that process, and whom it sees. Raises Failed."""
    try:
        answer = ask(pid, target)
    except OSError as error:
        raise Failed(f"{whence}, {target}: {error}") from error
    text = f"{whence}, {target}: {answer.name} answers on its port {answer.port}, and sees {answer.client}"
    saw(answer == expected, text)


def happened(events: Iterable[dict[str, Any]], **fields: str) -> dict[str, Any]:
    """Wait for an event with these fields. Raises Failed when the stream ends before."""
    for event in events:
        if fields.items() <= event.items():
            return event
    raise Failed(f"the agent ended before there was an event with {fields}")
