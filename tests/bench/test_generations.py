"""The newer generation of Debian's peers: fetched by lists of its own, and run by its own loader and libraries."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from bench.programs import load

generations = load("generations")

APT = """#!/bin/sh
cat <<END
other contrib https://contrib.example.org/debian/
trixie main https://main.example.org/debian/
trixie contrib https://main.example.org/debian/
END
"""


@pytest.fixture
def newer() -> None:
    """The generation, unpacked."""
    if not generations.is_newer_there():
        pytest.skip("the newer generation is not unpacked in .peers: python bench/fetch.py fetches it")


def libraries_of(program: Path) -> list[str]:
    """The files that a program is made of when it runs, as its loader says."""
    argv = [str(program), "--version"]
    shown = subprocess.run(
        argv, env={"LD_TRACE_LOADED_OBJECTS": "1"}, capture_output=True, text=True, check=True
    )
    return [line.split()[-2] for line in shown.stdout.splitlines() if "/" in line]


@pytest.mark.parametrize(
    "program",
    [
        *("usr/lib/podman/netavark", "usr/lib/cni/portmap", "usr/sbin/docker-proxy"),
        *("bin/nft", "bin/iptables"),
    ],
)
@pytest.mark.usefixtures("newer")
def test_programs_bring_their_libraries(program: str) -> None:
    """Whatever calls them, and whatever the machine has: all that is loaded was unpacked beside them."""
    used = libraries_of(generations.NEWER.path(program))
    assert any("libc.so" in each for each in used)
    assert {Path(each).resolve().is_relative_to(generations.NEWER.root) for each in used} == {True}


@pytest.mark.usefixtures("newer")
def test_it_is_newer() -> None:
    """Its peers are those of today: netavark with nftables, CNI 1.9 or later, Docker 28 or later."""
    versions = {name: generations.newer_version(name) for name in ("netavark", "docker.io")}
    assert int(versions["docker.io"].partition(".")[0]) >= 28
    assert [int(part) for part in versions["netavark"].split("-")[0].split(".")][:2] >= [1, 17]
    assert generations.newer_version("containernetworking-plugins") >= "1.9"
    assert generations.newer_version("nobody") == "unknown"


def test_one_that_was_moved_is_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs know their loader by its path, which a clone that was moved does not have any more."""
    monkeypatch.setattr(generations, "NEWER", generations.Generation("-forky", tmp_path))
    assert not generations.is_newer_there()
    (tmp_path / "place").write_text("/somewhere/else")
    assert not generations.is_newer_there()
    (tmp_path / "place").write_text(str(tmp_path))
    assert generations.is_newer_there()


def test_the_archive_is_the_machines_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that apt has for the machine's suite; on a system without such it is said that there is none."""
    (tmp_path / "apt-get").write_text(APT)
    (tmp_path / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(generations, "RELEASE", tmp_path / "os-release")
    (tmp_path / "os-release").write_text('NAME="Debian"\nVERSION_CODENAME=trixie\n')
    assert generations._archive() == "https://main.example.org/debian/"
    (tmp_path / "os-release").write_text("VERSION_CODENAME=noble\n")
    with pytest.raises(OSError, match="no archive of the suite 'noble'"):
        generations._archive()


def test_contestants_are_told_apart_by_their_names() -> None:
    """A name without a suffix is the machine's own generation's."""
    assert generations.generation("netavark") is generations.OWN
    assert generations.generation("netavark-forky") is generations.NEWER
    assert generations.NEWER.named("cni") in generations.NEWER_NAMES
