"""`bin/moorage` itself, run as a user would."""

from __future__ import annotations

import os
import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import Lab, end

PROGRAM = Path(__file__).parents[2] / "bin/moorage"
DEADLINE = 30.0
"""Seconds for any command, on a machine that is busy with other things."""


def run(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with these variables besides the inherited ones."""
    return subprocess.run(
        [PROGRAM, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env=_environment(environment),
    )


@contextmanager
def agent(
    lab: Lab, directory: Path, *flags: str | Path, **environment: str
) -> Iterator[subprocess.Popen[str]]:
    """Run `agent` with these flags in the lab's host while the block runs; it has said READY=1.

    Its log is `directory/log`. Raises AssertionError with that when it ends before.
    """
    directory.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify, (directory / "log").open("w") as log:
        notify.bind(str(directory / "notify"))
        environment["NOTIFY_SOCKET"] = str(directory / "notify")
        process = start(lab, *flags, stderr=log, **environment)
        try:
            assert _says_ready(notify, process), (directory / "log").read_text()
            yield process
        finally:
            end(process)
            (directory / "notify").unlink()


def start(lab: Lab, *flags: str | Path, stderr: Any, **environment: str) -> subprocess.Popen[str]:
    """Start `agent` with these flags in the lab's host."""
    process: subprocess.Popen[str] = lab.call(
        "host",
        subprocess.Popen,
        [PROGRAM, "agent", *flags],
        stdin=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
        env=_environment(environment),
    )
    return process


def refused_start(lab: Lab, *flags: str | Path, code: int = 1, **environment: str) -> str:
    """What `agent` says when it ends with that code instead of starting."""
    with start(lab, *flags, stderr=subprocess.PIPE, **environment) as process:
        try:
            _, said = process.communicate(timeout=DEADLINE)
        finally:
            process.kill()
    assert process.returncode == code, said
    return str(said)


def _environment(more: dict[str, str]) -> dict[str, str]:
    mine = {"MOORAGE_SOCKET", "NOTIFY_SOCKET"}
    return {name: value for name, value in os.environ.items() if name not in mine} | more


def _says_ready(notify: socket.socket, process: subprocess.Popen[str]) -> bool:
    ended = os.pidfd_open(process.pid)
    try:
        readable, _, _ = select.select([notify.fileno(), ended], [], [], DEADLINE)
    finally:
        os.close(ended)
    return notify.fileno() in readable and notify.recv(100) == b"READY=1"
