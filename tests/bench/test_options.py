"""Wrong options of the benchmarks, and results that are none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from bench.programs import BENCH


def run(program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, BENCH / f"{program}.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


OPTIONS = [
    ("control", "--rounds"),
    ("control", "--churn"),
    ("rpc", "--requests"),
    ("dataplane", "--slot"),
    ("reliability", "--each"),
]


@pytest.mark.parametrize(
    ("program", "option", "value"),
    [
        *((*each, "0") for each in OPTIONS),
        *(("rpc", "--requests", value) for value in ("-1", "1.5", "", "many")),
    ],
)
def test_how_often_is_a_number_from_1_on(program: str, option: str, value: str) -> None:
    """What would measure nothing, or make no sense, is refused as usage and nothing is measured.

    All of them are read by one function: that they are is tried with one value, what it refuses with one option.
    """
    done = run(program, f"{option}={value}")

    assert (done.returncode, done.stdout) == (2, "")
    assert f"{value!r} is not a number from 1 on" in done.stderr


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"[1]", b'{"figures": 3}', b"\xff\xfe"])
def test_what_holds_no_results_is_not_worse(content: bytes, tmp_path: Path) -> None:
    """Without a comparison the exit code is 2, which says nothing about better or worse, and one line says why."""
    file = tmp_path / "rpc.json"
    file.write_bytes(content)

    for arguments in ([file], [file, file]):
        done = run("compare", *arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"{file} holds something other than results of a benchmark\n"


def test_a_revision_that_is_none_is_not_worse() -> None:
    """Nor is what git does not know."""
    done = run("compare", "no-such-revision")

    assert (done.returncode, done.stdout) == (2, "")
    assert "neither a path nor a revision: " in done.stderr


@pytest.mark.parametrize("content", [None, b"[]", b"\xff\xfe"])
def test_what_cannot_be_told_again_is_said(content: bytes | None, tmp_path: Path) -> None:
    """A file that is missing or holds something else than results is named in one sentence."""
    file = tmp_path / "dataplane.json"
    if content is not None:
        file.write_bytes(content)

    done = run("dataplane", "--read", file)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{file} holds no results of this benchmark: ")
    assert "Traceback" not in done.stderr


def test_results_that_nobody_can_write_are_said_before_anything_is_measured(tmp_path: Path) -> None:
    """A directory that cannot be made ends it all in one sentence."""
    (tmp_path / "file").touch()

    done = run("run", "--quick", "--into", tmp_path / "file" / "results", "pools")

    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr
