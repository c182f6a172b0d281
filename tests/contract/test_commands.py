"""`bin/moorage` against a real agent: what each command prints, and its exit code."""

from __future__ import annotations

import json
import select
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from agents import AgentProcess
from contract.program import DEADLINE, PROGRAM, run
from contract.wire import Wire
from moorage.errors import Fault
from scripted_agent import ScriptedAgent

pytestmark = pytest.mark.system

Done = subprocess.CompletedProcess[str]
Command = Callable[[str], Done]


@pytest.fixture
def command(memory_agent: AgentProcess, wire: Wire) -> Command:
    """Run a command line against the agent that `wire` is connected to."""
    return lambda line: run(*line.split(), "--socket", memory_agent.socket)


def lines(done: Done) -> list[str]:
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def test_the_life_of_an_interface(command: Command, wire: Wire) -> None:
    """Each change is done, shown as `ps` shows it, and exits 0."""
    line = "allocate web -p 127.0.0.1:8080:80 -p 8000-8009:9000-9009/udp --network default --ip 10.0.42.9"
    shown = lines(command(line))
    assert shown[0].split() == ["ID", "NETWORK", "ADDRESS", "NETNS", "PORTS"]
    assert shown[1].split()[:4] == ["web", "default", "10.0.42.9", "-"]
    assert shown[1].endswith("127.0.0.1:8080->80, 8000-8009->9000-9009/udp")
    assert lines(command("publish web 7000:80 7001:53/udp"))[1].endswith("7000->80, 7001->53/udp")
    assert lines(command("unpublish web 7000:80"))[1].endswith("9000-9009/udp, 7001->53/udp")
    assert lines(command("unpublish web"))[1].split() == ["web", "default", "10.0.42.9", "-"]
    assert lines(command("detach web"))[1].startswith("web")
    assert lines(command("release web ghost")) == ["web released", "ghost was not there"]
    assert wire.call("list") == []


def test_containers(linux_agent: AgentProcess, linux: Wire) -> None:
    """`allocate --netns`, `detach` and `attach` put the interface where they say, which `ps` shows."""
    path = linux_agent.lab.container("command")
    for line in (f"allocate web --netns {path}", "detach web", f"attach web {Path(path).name}", "ps"):
        shown = lines(run(*line.split(), "--socket", linux_agent.socket))[1].split()
        assert (shown[0], shown[3]) == ("web", "-" if line == "detach web" else path)
    assert linux.call("inspect", id="web")["netns"] == path


def test_ps_in_the_notation_of_2013(command: Command, wire: Wire) -> None:
    """PORTS has `host->container`, the protocol unless it is tcp, the host ip unless it is any."""
    auto = wire.call("allocate", id="web", ports=["80", "53/udp", "[::1]:8080:80", "0.0.0.0:8081:80"])[
        "ports"
    ]
    [head, row] = lines(command("ps"))
    tcp, udp = auto[0]["host_port"], auto[1]["host_port"]
    assert row[head.index("PORTS") :] == f"{tcp}->80, {udp}->53/udp, [::1]:8080->80, 8081->80"


def test_inspect_has_the_dictionaries_of_2013(command: Command, wire: Wire) -> None:
    """`inspect` has NetworkSettings with Tcp and Udp always, container port to host port, ranges port by port."""
    wire.call("allocate", id="bare")
    wire.call("allocate", id="web", ip="10.0.42.9", ports=["8080:80", "8000-8002:9000-9002/udp"])
    shown = json.loads("\n".join(lines(command("inspect web"))))
    assert shown["NetworkSettings"] == {
        "IPAddress": "10.0.42.9",
        "IPPrefixLen": 24,
        "Gateway": "10.0.42.1",
        "Bridge": "moorage0",
        "PortMapping": {"Tcp": {"80": "8080"}, "Udp": {"9000": "8000", "9001": "8001", "9002": "8002"}},
    }
    assert wire.call("inspect", id="web").items() <= shown.items()
    bare = json.loads("\n".join(lines(command("inspect bare"))))
    assert bare["NetworkSettings"]["PortMapping"] == {"Tcp": {}, "Udp": {}}


def test_networks(command: Command, wire: Wire) -> None:
    """`networks` lists, creates and removes."""
    asked = "--subnet 10.0.43.0/24 --bridge br-back --internal --mtu 1400 --proxy never --guard network"
    made = lines(command(f"networks create back {asked}"))
    assert made[1].split() == [
        "back",
        "br-back",
        "10.0.43.0/24",
        "10.0.43.1",
        "-",
        "yes",
        "1400",
        "never",
        "network",
    ]
    assert made[1].split() in [line.split() for line in lines(command("networks"))]
    assert lines(command("networks rm back")) == ["back removed"]
    assert lines(command("networks rm back")) == ["back was not there"]
    assert len(wire.call("networks")) == 1


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("allocate db", dict),
        ("publish web 9090:90", dict),
        ("unpublish web", dict),
        ("detach web", dict),
        ("release web", dict),
        ("ps", list),
        ("inspect web", dict),
        ("networks", list),
        ("networks create back --subnet 10.0.43.0/24", dict),
        ("networks rm back", dict),
        ("tree", list),
        ("status", dict),
    ],
)
def test_json_everywhere(command: Command, wire: Wire, line: str, kind: type) -> None:
    """With `--json` every command prints one line of JSON, which is what the method gave."""
    wire.call("allocate", id="web")
    [only] = lines(command(f"{line} --json"))
    assert isinstance(json.loads(only), kind)
    if line in {"inspect web", "publish web 9090:90", "detach web"}:
        assert wire.call("inspect", id="web").items() <= json.loads(only).items()
    if line in {"tree", "networks"}:
        assert [each["name"] for each in json.loads(only)] == [each["name"] for each in wire.call(line)]


def test_status_and_tree_for_people(command: Command) -> None:
    """`status` has a line a number, and `tree` indents each actor under its parent."""
    names = [line.partition(":")[0] for line in lines(command("status"))]
    assert names == [
        "networks",
        "interfaces",
        "mappings",
        "proxies",
        "kernel",
        "restarts",
        "repaired",
        "started",
    ]
    tree = lines(command("tree"))
    assert tree[1].startswith("root ")
    assert any(line.startswith("    ip:default ") for line in tree)


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("inspect ghost", 1, "not_found: "),
        ("publish web 80/TCP", 1, "invalid: "),
        ("allocate db -p 80:", 1, "invalid: "),
        ("allocate -a", 2, "usage: "),
        ("unpublish web 81", 1, "not_found: "),
        ("attach web pid:1", 1, "unsupported: "),
        ("networks rm default", 1, "exists: "),
        ("why 8080/tcp", 1, "unsupported: "),
        ("publish web", 2, "usage: "),
        ("attach web", 2, "usage: "),
        ("release", 2, "usage: "),
        ("inspect", 2, "usage: "),
        ("frobnicate", 2, "usage: "),
        ("ps --colour", 2, "usage: "),
        ("networks create", 2, "usage: "),
    ],
)
def test_exit_codes(command: Command, wire: Wire, line: str, code: int, said: str) -> None:
    """What the agent refuses exits 1, what is no command 2, each with its reason on stderr alone."""
    wire.call("allocate", id="web")
    done = command(line)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_no_command_is_a_usage_error() -> None:
    """`moorage` alone says how it is used, and exits 2."""
    done = run()
    assert (done.returncode, "usage: " in done.stderr) == (2, True)


def test_an_agent_that_is_not_there(tmp_path: Path) -> None:
    """Where no agent answers the exit code is 3 and the socket is named, by flag, variable or default."""
    for done, path in (
        (run("ps", "--socket", tmp_path / "a"), tmp_path / "a"),
        (run("ps", MOORAGE_SOCKET=str(tmp_path / "b")), tmp_path / "b"),
        (run("ps"), Path("/run/moorage/moorage.sock")),
    ):
        assert (done.returncode, done.stdout) == (3, "")
        assert str(path) in done.stderr


def test_a_fault_is_4(tmp_path: Path) -> None:
    """Where the agent breaks the exit code is 4, with its text."""
    with ScriptedAgent(tmp_path / "s", *[Fault("the disk is on fire")] * 20):
        done = run("inspect", "web", "--socket", tmp_path / "s")
    assert (done.returncode, done.stdout) == (4, "")
    assert "internal: the disk is on fire" in done.stderr


def test_version_needs_no_agent() -> None:
    """`version` prints name and version, as JSON when asked."""
    done, machine = run("version"), run("version", "--json")
    assert done.stdout == f"moorage {json.loads(machine.stdout)['version']}\n"
    assert (done.returncode, machine.returncode) == (0, 0)


def test_events_as_they_come(memory_agent: AgentProcess, wire: Wire) -> None:
    """`events` prints each event as a line, as it happens."""
    argv = [str(PROGRAM), "events", "--json", "--socket", str(memory_agent.socket), "interface_allocated"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            told = first_line(process, wire)
        finally:
            process.terminate()
            process.wait(DEADLINE)
    assert told["event"] == "interface_allocated"
    assert told.keys() == {"event", "time", "id", "network"}


def first_line(process: subprocess.Popen[str], wire: Wire) -> dict[str, str]:
    """Allocate until the program, which subscribes at a time of its own, has printed a line."""
    assert process.stdout is not None
    for number in range(100):
        wire.call("allocate", id=f"c{number}")
        if select.select([process.stdout], [], [], 0.1)[0]:
            break
    told: dict[str, str] = json.loads(process.stdout.readline())
    return told
