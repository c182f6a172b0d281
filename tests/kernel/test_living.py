"""Which network namespaces live, while containers and programs come and go."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from lab import Lab, end
from moorage.kernel.linux import living, mounts, netns
from moorage.kernel.linux.mounts import Mount

pytestmark = pytest.mark.system

read = mounts.read


def seen(monkeypatch: pytest.MonkeyPatch, *processes: int) -> None:
    """Look through these alone, in this order: what others on this machine have mounted comes and goes as it likes."""
    paths = [Path(f"/proc/{each}") for each in (*processes, os.getpid())]
    monkeypatch.setattr(living, "_PROCESSES", SimpleNamespace(glob=lambda _: iter(paths)))


def after_reading(monkeypatch: pytest.MonkeyPatch, process: int, happens: Callable[[], object]) -> None:
    """Have that happen once the mounts of a process were read and before any of them is opened."""
    happened = []

    def reading(path: Path) -> Iterator[Mount]:
        found = list(read(path))
        if path == Path(f"/proc/{process}/mountinfo") and not happened:
            happened.append(path)
            happens()
        yield from found

    monkeypatch.setattr(mounts, "read", reading)


@pytest.fixture
def apart(lab: Lab) -> Iterator[list[subprocess.Popen[str]]]:
    """Two programs in one mount namespace, where alone the namespace "held" is mounted: at /mnt/held."""
    path = lab.container("held")
    script = 'mount -t tmpfs none /mnt; touch /mnt/held; mount --bind "$0" /mnt/held; echo; exec cat'
    first = subprocess.Popen(
        ["unshare", "-m", "sh", "-euc", script, path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert first.stdout is not None
    assert first.stdout.readline() == "\n"
    other = subprocess.Popen(
        ["nsenter", f"--mount=/proc/{first.pid}/ns/mnt", "sh", "-c", "echo; exec cat"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert other.stdout is not None
    assert other.stdout.readline() == "\n"
    yield [first, other]
    for each in (first, other):
        end(each)


def test_one_that_ends_while_one_looks(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, apart: list[subprocess.Popen[str]]
) -> None:
    """It is not living, and hides nobody: all others are known."""
    cookies = {name: lab.call(name, netns.cookie) for name in ("held", "host")}
    lab.remove("held")
    first, other = apart
    seen(monkeypatch, first.pid, other.pid)
    after_reading(monkeypatch, first.pid, lambda: [end(each) for each in apart])
    found = living.look()
    assert found.all
    assert [cookies[name] in found.cookies for name in ("held", "host")] == [False, True]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_program_that_ends_while_one_looks(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, apart: list[subprocess.Popen[str]], moment: str
) -> None:
    """What it showed and another one still shows is living."""
    cookie = lab.call("held", netns.cookie)
    lab.remove("held")
    first, other = apart
    seen(monkeypatch, first.pid, other.pid)
    if moment == "after":
        after_reading(monkeypatch, first.pid, lambda: end(first))
    else:
        ends_before_its_mounts_are_read(monkeypatch, first)
    found = living.look()
    assert (found.all, cookie in found.cookies) == (True, True)


def ends_before_its_mounts_are_read(monkeypatch: pytest.MonkeyPatch, process: subprocess.Popen[str]) -> None:
    def reading(path: Path) -> Iterator[Mount]:
        if path == Path(f"/proc/{process.pid}/mountinfo"):
            end(process)
        return read(path)

    monkeypatch.setattr(mounts, "read", reading)


def test_one_that_cannot_be_opened(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, apart: list[subprocess.Popen[str]]
) -> None:
    """Where it is mounted and something else lies over it, which namespace that is stays unknown."""
    lab.remove("held")
    first, _ = apart
    subprocess.run(
        ["nsenter", f"--mount=/proc/{first.pid}/ns/mnt", "mount", "-t", "tmpfs", "none", "/mnt"], check=True
    )
    seen(monkeypatch, first.pid)
    assert not living.look().all
