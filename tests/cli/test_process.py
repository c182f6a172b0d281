"""What holds for the program as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import pytest

from moorage.errors import Code, Refused
from moorage.rpc.codec import Notification, Response
from moorage.version import VERSION
from scripted_agent import ScriptedAgent, calls
from wire_samples import TCP, WEB

PROGRAM = Path(__file__).parents[2] / "bin/moorage"
DEADLINE = 30


@pytest.fixture
def interruptible() -> Iterator[None]:
    """What is started hears SIGINT, also where the tests run in a shell's background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_events_are_lines_until_interrupted(agent: ScriptedAgent) -> None:
    """`events` prints each event as it comes, and SIGINT is its good end."""
    event = {"event": "mapping_published", "time": "2026-01-01T00:00:00Z", "id": "web", "mapping": TCP}
    agent.answers = [[Response(0, None, None), Notification("event", [event])]]
    command = [PROGRAM, "events", "--socket", agent.path, "mapping_published"]

    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE) == 0

    assert line == "2026-01-01T00:00:00Z mapping_published id=web mapping=127.0.0.1:8080->80\n"
    assert calls(agent.requests) == [("subscribe", {"events": ["mapping_published"]})]


def test_a_broken_pipe_is_quiet(agent: ScriptedAgent) -> None:
    """When whoever reads has gone, the program ends as `cat` would, without a word."""
    agent.answers = [[WEB] * 100]
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [PROGRAM, "ps", "--socket", agent.path],
        stdout=writer,
        stderr=subprocess.PIPE,
        timeout=DEADLINE,
        check=False,
    )
    os.close(writer)

    assert (process.returncode, process.stderr) == (128 + signal.SIGPIPE, b"")


def test_the_program_runs_through_a_symlink_from_anywhere(tmp_path: Path) -> None:
    """bin/moorage finds its clone through a link, and takes no module from the directory it is called in."""
    (tmp_path / "msgpack.py").write_text("raise SystemExit(99)")
    (tmp_path / "moorage").symlink_to(PROGRAM)

    process = subprocess.run(
        ["./moorage", "version"], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE, check=False
    )

    assert (process.returncode, process.stdout) == (0, f"moorage {VERSION}\n")


def test_a_client_command_loads_no_actors(agent: ScriptedAgent) -> None:
    """A client command imports no actors, netlink, logs or asyncio, which would double its time."""
    agent.answers = [[]]
    code = "import sys; from moorage.cli import main; main(); print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code, "ps", "--socket", agent.path],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    ).stdout.split()

    heavy = {
        "pykka",
        "pyroute2",
        "structlog",
        "asyncio",
        "sqlite3",
        "logging",
        "moorage.agent",
        "moorage.service",
    }
    assert "moorage.client" in loaded
    assert heavy.isdisjoint(loaded)


def test_output_to_a_full_disk_is_one_sentence(agent: ScriptedAgent) -> None:
    """What cannot be written is a fault that says what was done; no traceback."""
    agent.answers = [WEB]
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - a device
        process = _run(["allocate", "web", "--socket", agent.path], stdout=full)

    assert process.returncode == 4
    assert process.stderr == (
        "moorage: internal: the answer could not be written to standard output: No space left on device; "
        "what was asked for is done\n"
    )


@pytest.mark.parametrize(("closed", "code"), [("1", 0), ("2", 1), ("0", 0)])
def test_closed_descriptors_change_no_exit_code(closed: str, code: int, agent: ScriptedAgent) -> None:
    """Started without standard input, output or error, as by some service managers, a command does what it would."""
    agent.answers = [[WEB] if code == 0 else Refused(Code.NOT_FOUND, "there is none")]
    process = _run(
        ["sh", "-c", f'exec "$@" {closed}>&-', "sh", PROGRAM, "ps", "--socket", agent.path],
        stdout=subprocess.PIPE,
        program=(),
    )

    assert (process.returncode, process.stderr) == (code, "")
    assert "there is none" not in process.stdout


def _run(
    arguments: Sequence[str | Path], stdout: IO[bytes] | int, program: Sequence[Path] = (PROGRAM,)
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*program, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
