"""Starts that are refused: exit status 1, one sentence that says what is wrong, and nothing changed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess, until
from lab import Lab
from moorage.rpc.listener import UnixListener
from system.test_down import traces

pytestmark = pytest.mark.system

TIMEOUT = 30


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A host and the world outside it, once the kernel has told everybody that the link between them is up."""
    with Lab() as made:
        until(lambda: "LOWER_UP" in made.run("host", ["ip", "-o", "link", "show", "eth0"]))
        until(lambda: "linkdown" not in made.run("host", ["ip", "route"]))
        until(lambda: "linkdown" not in made.run("host", ["ip", "-6", "route"]))
        until(lambda: "fe80::/64" in made.run("host", ["ip", "-6", "route"]))
        yield made


def start(lab: Lab, directory: Path, **config: Any) -> str:
    """Start an agent that will not have it; returns the sentence it ends with."""
    settings = {"socket": str(directory / "agent.sock"), "state": str(directory / "state")} | config
    path = directory / "config.toml"
    path.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
    before = world(lab), files(directory)
    argv = [sys.executable, "-m", "moorage.cli", "agent", "--config", str(path)]
    done: subprocess.CompletedProcess[str] = lab.call(
        "host", subprocess.run, argv, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1, done.stderr
    assert (world(lab), files(directory)) == before
    said = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    (sentence,) = said
    return sentence


def world(lab: Lab) -> list[object]:
    """The host's links, addresses, routes, sysctls and rules."""
    commands = (*("link", "address", "route", "rule", "-6 route", "-6 rule"),)
    shown = [lab.run("host", ["ip", "-o", *command.split()]) for command in commands]
    return [*shown, traces(lab)]


def files(directory: Path) -> list[tuple[Path, int, float]]:
    """All that is in a directory, with the inode and time of each file."""
    found = [(path, path.lstat()) for path in sorted(directory.rglob("*"))]
    return [(path, at.st_ino, 0.0 if path.is_dir() else at.st_mtime) for path, at in found]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"colour": "red"}, "'colour'"),
        ({"kernel": "windows"}, "kernel"),
        ({"port_range": "5-1"}, "port_range"),
        ({"subnet": "10.0.42.1/33"}, "subnet"),
        ({"bridge": "a-name-that-is-too-long"}, "bridge"),
        ({"quarantine": -1}, "quarantine"),
        ({"allow_uids": ["root"]}, "allow_uids"),
    ],
)
def test_a_wrong_configuration(lab: Lab, tmp_path: Path, config: dict[str, Any], why: str) -> None:
    """A key that is unknown, or whose value cannot be, is named."""
    assert why in start(lab, tmp_path, **config)


def test_a_bridge_that_is_none(lab: Lab, tmp_path: Path) -> None:
    """A link of the bridge's name that is no bridge is left alone, and named."""
    assert "eth0" in start(lab, tmp_path, bridge="eth0")


def test_a_subnet_that_the_host_uses(lab: Lab, tmp_path: Path) -> None:
    """A subnet that overlaps a route of the host is refused, with what it overlaps."""
    assert "10.77.0.0/24" in start(lab, tmp_path, subnet="10.77.0.128/25")


@pytest.mark.parametrize("place", ["long", "file", "directory", "writable", "in use"])
def test_a_socket_that_cannot_be(lab: Lab, tmp_path: Path, place: str) -> None:
    """A socket that cannot be listened on is refused by its path, before anything is made."""
    folder = tmp_path / "socket"
    path = folder / ("s" * 200 if place == "long" else "agent.sock")
    if place != "long":
        folder.mkdir()
    if place == "file":
        path.write_text("precious")
    elif place == "directory":
        path.mkdir()
    elif place == "writable":
        folder.chmod(0o777)
    with closing(UnixListener(path)) if place == "in use" else nullcontext():
        assert str(path if place != "writable" else folder) in start(lab, tmp_path, socket=str(path))


def test_another_subnet_for_the_default_network(lab: Lab, tmp_path: Path) -> None:
    """A default network that cannot be made anew, as it is configured now, is left as it was."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        before = agent.client.networks()
        assert agent.terminate() == 0
        shown = traces(lab)[:3]
        other = AgentProcess(lab, tmp_path, subnet="10.77.0.128/25")
        assert "10.77.0.0/24" in other.refusal().stderr
        assert traces(lab)[:3] == shown
        AgentProcess(lab, tmp_path, subnet="10.0.42.1/24")
        agent.start()
        assert agent.client.networks() == before
        assert agent.terminate() == 0
        assert agent.down().returncode == 0


def test_a_state_that_the_host_shows_nothing_of(lab: Lab, tmp_path: Path) -> None:
    """A start that is refused after the host was booted makes nothing of what the state has, and keeps the state."""
    with Lab() as former, AgentProcess(former, tmp_path, default_network=False) as agent:
        agent.client.create_network("other", subnet="10.0.43.0/24")
        assert agent.terminate() == 0
    before = traces(lab)
    assert "10.77.0.0/24" in AgentProcess(lab, tmp_path, subnet="10.77.0.128/25").refusal().stderr
    assert traces(lab) == before
    with AgentProcess(lab, tmp_path, default_network=False) as agent:
        assert [each.name for each in agent.client.networks()] == ["other"]
        assert agent.terminate() == 0
        assert agent.down().returncode == 0
    assert traces(lab) == before


@pytest.mark.parametrize("what", ["writable", "file", "foreign", "link"])
def test_a_state_directory_that_is_not_ours(lab: Lab, tmp_path: Path, what: str) -> None:
    """A state directory that others write to, or that is something else, is refused by name and left as it is."""
    state = tmp_path / "state"
    if what == "file":
        state.write_text("precious")
    elif what == "link":
        (tmp_path / "elsewhere").mkdir()
        state.symlink_to(tmp_path / "elsewhere")
    else:
        state.mkdir()
        (state / "precious").write_text("precious")
        if what == "writable":
            state.chmod(0o777)
    before = [(path, path.lstat().st_mode) for path in sorted(tmp_path.rglob("*"))]
    assert str(state) in start(lab, tmp_path)
    assert before == [
        (path, path.lstat().st_mode) for path in sorted(tmp_path.rglob("*")) if path.name != "config.toml"
    ]


def test_a_state_directory_in_use(lab: Lab, tmp_path: Path) -> None:
    """A second agent on the state of one that runs is refused with its pid, and the first does not notice."""
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    with AgentProcess(lab, first, subnet="10.0.42.1/24") as agent:
        agent.client.allocate("web", ports=["8080:80"])
        assert f"pid {agent.pid}" in start(lab, second, state=str(agent.state))
        assert agent.client.status().restarts == 0
        assert agent.client.inspect("web").ports[0].host_port == 8080
        agent.terminate()
        agent.start()
        agent.terminate()
        assert agent.down().returncode == 0
        agent.start()


def test_without_the_privilege(lab: Lab, tmp_path: Path) -> None:
    """Without the right to change the network the agent says what is missing, before anything is changed."""
    before = world(lab), files(tmp_path)
    places = ["--state", str(tmp_path / "state"), "--socket", str(tmp_path / "agent.sock")]
    argv = ["setpriv", "--bounding-set", "-net_admin", sys.executable, "-m", "moorage.cli", "agent", *places]
    done: subprocess.CompletedProcess[str] = lab.call(
        "host", subprocess.run, argv, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "CAP_NET_ADMIN" in done.stderr
    assert (world(lab), files(tmp_path)) == before


MISSING = """
import ctypes, sys
real = ctypes.CDLL
def without(name, *args, **kwargs):
    if name and "nftables" in name:
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")
    return real(name, *args, **kwargs)
ctypes.CDLL = without
from moorage.cli import main
sys.exit(main(["agent", "--state", sys.argv[1] + "/state", "--socket", sys.argv[1] + "/agent.sock"]))
"""


def test_without_libnftables(lab: Lab, tmp_path: Path) -> None:
    """Where the library that writes the rules is missing, it is named with the package that has it."""
    before = world(lab), files(tmp_path)
    argv = [sys.executable, "-c", MISSING, str(tmp_path)]
    done: subprocess.CompletedProcess[str] = lab.call(
        "host", subprocess.run, argv, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "libnftables" in done.stderr
    assert (world(lab), files(tmp_path)) == before
