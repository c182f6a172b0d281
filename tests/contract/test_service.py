"""`moorage agent` as a service: its flags, its start and its end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from contract.program import DEADLINE, PROGRAM, agent, refused_start
from contract.wire import Wire
from lab import Lab
from moorage import Config
from moorage.rpc.credentials import Peer, refusal

pytestmark = pytest.mark.system

SYSCTL = "/proc/sys/net/ipv4/ip_forward"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab without an agent."""
    with Lab() as lab:
        yield lab


def links(lab: Lab) -> set[str]:
    return {each["ifname"] for each in json.loads(lab.run("host", ["ip", "-json", "link"]))}


def test_flags(lab: Lab, tmp_path: Path) -> None:
    """Socket, state, bridge, subnet and chaos are what the flags say, whatever the file says."""
    (tmp_path / "config.toml").write_text('bridge = "br-file"\nport_range = "50000-50009"\n')
    sock, state = tmp_path / "run/a.sock", tmp_path / "state"
    flags: tuple[str | Path, ...]
    flags = ("--config", tmp_path / "config.toml", "--socket", sock, "--state", state)
    flags += ("--bridge", "br7", "--subnet", "10.0.50.0/24", "--chaos")
    with agent(lab, tmp_path / "a", *flags), Wire(sock) as wire:
        [default] = wire.call("networks")
        assert (default["bridge"], default["subnet"]) == ("br7", "10.0.50.0/24")
        assert "br7" in links(lab)
        assert wire.call("crash", actor="links") is None
        assert wire.call("status")["kernel"] == "linux"
        assert wire.call("allocate", id="web", ports=["80"])["ports"][0]["host_port"] == 50000
        assert list(state.iterdir())
    assert not sock.exists()


def test_the_kernel_in_a_dict_needs_no_privilege_and_makes_nothing(lab: Lab, tmp_path: Path) -> None:
    """With `--kernel memory` no link is made, and `$MOORAGE_SOCKET` says where clients connect."""
    before = links(lab)
    sock = tmp_path / "env.sock"
    flags = ("--kernel", "memory", "--state", tmp_path / "state")
    with agent(lab, tmp_path / "a", *flags, MOORAGE_SOCKET=str(sock)), Wire(sock) as wire:
        wire.call("allocate", id="web", ports=["8080:80"])
        assert wire.call("status")["kernel"] == "memory"
        assert links(lab) == before
        with lab.open("host", ("127.0.0.1", 8080)):
            pass
        assert wire.refused("crash", actor="journal").startswith("denied: ")


def test_without_a_default_network(lab: Lab, tmp_path: Path) -> None:
    """`default_network = false` leaves it out, and an interface needs another one."""
    (tmp_path / "config.toml").write_text("default_network = false\n")
    flags = ("--config", tmp_path / "config.toml", "--socket", tmp_path / "s", "--state", tmp_path / "state")
    with agent(lab, tmp_path / "a", *flags), Wire(tmp_path / "s") as wire:
        assert wire.call("networks") == []
        assert "moorage0" not in links(lab)
        text = wire.refused("allocate", id="web")
        assert text.startswith("not_found: ")
        assert "default" in text


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('colour = "red"', "colour"),
        ('kernel = "windows"', "kernel"),
        ("quarantine = -1", "quarantine"),
        ('port_range = "65535-49153"', "port_range"),
        ('subnet = "10.0.0.0"', "subnet"),
        ('bridge = "a-name-of-sixteen"', "bridge"),
        ('chaos = "yes"', "chaos"),
        ('allow_uids = ["nobody"]', "allow_uids"),
        ('loopback = "iptables"', "loopback"),
        ('log_level = "loud"', "log_level"),
        ("[network]", "network"),
        ("kernel", "config.toml"),
    ],
)
def test_a_wrong_key_or_value_ends_the_start(lab: Lab, tmp_path: Path, line: str, named: str) -> None:
    """What is wrong in the configuration is named, the exit code is 1, and nothing is made."""
    (tmp_path / "config.toml").write_text(f"{line}\n")
    said = refused_start(lab, "--config", tmp_path / "config.toml", "--state", tmp_path / "state")
    assert named in said
    assert "Traceback" not in said
    assert not (tmp_path / "state").exists()


def test_a_second_agent_is_refused(lab: Lab, tmp_path: Path) -> None:
    """Another agent on the same state, or on the same socket, does not start, and the first goes on."""
    sock, state = tmp_path / "s", tmp_path / "state"
    memory = ("--kernel", "memory")
    with agent(lab, tmp_path / "a", *memory, "--socket", sock, "--state", state), Wire(sock) as wire:
        said = refused_start(lab, *memory, "--socket", tmp_path / "other", "--state", state)
        assert str(state) in said
        said = refused_start(lab, *memory, "--socket", sock, "--state", tmp_path / "elsewhere")
        assert str(sock) in said
        assert wire.call("hello")["name"] == "moorage"
        with Wire(sock) as again:
            assert again.call("hello") == wire.call("hello")


@pytest.mark.parametrize(
    ("flags", "named", "code"),
    [
        (("--subnet", "10.77.0.128/25"), "eth0", 1),
        (("--bridge", "eth0"), "eth0", 1),
        (("--subnet", "10.0.50.1/32"), "10.0.50.1/32", 2),
        (("--kernel", "windows"), "windows", 2),
        (("--bridge", "a/b"), "a/b", 2),
    ],
)
def test_a_start_that_cannot_be_leaves_nothing(
    lab: Lab, tmp_path: Path, flags: tuple[str, str], named: str, code: int
) -> None:
    """A default network that cannot be made ends the start in a sentence, a flag that cannot be in the usage; another
    start finds no trace of it.
    """
    before = links(lab)
    place = ("--socket", tmp_path / "s", "--state", tmp_path / "state")
    said = refused_start(lab, *place, *flags, code=code)
    assert named in said.splitlines()[-1]
    assert "Traceback" not in said
    assert links(lab) == before
    with agent(lab, tmp_path / "a", *place, "--subnet", "10.0.50.0/24"), Wire(tmp_path / "s") as wire:
        assert [each["subnet"] for each in wire.call("networks")] == ["10.0.50.0/24"]


def test_a_request_is_remembered_by_the_next_agent(lab: Lab, tmp_path: Path) -> None:
    """A request repeated after the agent was killed gets the first answer, also when what it made is gone."""
    asked: dict[str, Any] = {"id": "web", "ports": ["80"], "request": "r1"}
    flags = ("--socket", tmp_path / "s", "--state", tmp_path / "state", "--kernel", "memory")
    with agent(lab, tmp_path / "a", *flags) as process, Wire(tmp_path / "s") as wire:
        first = wire.call("allocate", **asked)
        wire.call("allocate", id="db", ports=["8080:80"])
        wire.call("release", id="web")
        process.kill()
        process.wait()
    with agent(lab, tmp_path / "b", *flags), Wire(tmp_path / "s") as wire:
        assert wire.call("allocate", **asked) == first
        assert [each["id"] for each in wire.call("list")] == ["db"]
        with lab.open("host", ("127.0.0.1", 8080)):
            pass


def test_sigterm_finishes_and_leaves_links_in_place(lab: Lab, tmp_path: Path) -> None:
    """On SIGTERM what was asked for is answered, the exit code is 0, and bridge and container link stay."""
    sock = tmp_path / "s"
    with agent(lab, tmp_path / "a", "--socket", sock, "--state", tmp_path / "state") as process:
        with Wire(sock) as wire:
            wire.call("allocate", id="web", netns=lab.container("web"))
            wire.send(*([0, 100 + each, "allocate", [{"id": f"c{each}"}]] for each in range(20)))
            first = wire.receive()
            process.send_signal(signal.SIGTERM)
            answers = [first, *rest(wire)]
        assert process.wait(DEADLINE) == 0
        assert "moorage0" in links(lab)
        assert "eth0" in lab.run("web", ["ip", "link"])
    with agent(lab, tmp_path / "b", "--socket", sock, "--state", tmp_path / "state"), Wire(sock) as wire:
        kept = {each["id"]: each for each in wire.call("list")}
    told = {answer[3]["id"]: answer[3] for answer in answers if answer[2] is None}
    assert told.items() <= kept.items()


def rest(wire: Wire) -> Iterator[list[Any]]:
    """What still comes until the agent closes the connection."""
    with suppress(EOFError):
        while True:
            yield wire.receive()


def test_down_removes_all_and_puts_back_what_was(lab: Lab, tmp_path: Path) -> None:
    """`agent --down` with the same flags leaves no link, rule or state, and sysctls as they were before."""
    lab.call("host", Path(SYSCTL).write_text, "0")
    before = links(lab)
    flags = ("--socket", tmp_path / "s", "--state", tmp_path / "state", "--bridge", "br7")
    with agent(lab, tmp_path / "a", *flags), Wire(tmp_path / "s") as wire:
        wire.call("allocate", id="web", netns=lab.container("web"), ports=["8080:80"])
        wire.call("create_network", name="back", subnet="10.0.50.0/24")
        assert lab.call("host", Path(SYSCTL).read_text).strip() == "1"
        assert str(tmp_path / "state") in refused_start(lab, *flags, "--down")
        assert wire.call("inspect", id="web")["netns"]
    assert down(lab, *flags) == 0
    assert links(lab) == before
    assert "eth0" not in lab.run("web", ["ip", "link"])
    assert lab.call("host", Path(SYSCTL).read_text).strip() == "0"
    assert not lab.call("host", Path("/proc/sys/net/ipv4/ip_local_reserved_ports").read_text).strip()
    assert not (tmp_path / "state").exists() or not list((tmp_path / "state").iterdir())
    assert down(lab, *flags) == 0


def down(lab: Lab, *flags: str | Path) -> int:
    argv = [PROGRAM, "agent", *flags, "--down"]
    done: subprocess.CompletedProcess[bytes] = lab.call("host", subprocess.run, argv, timeout=DEADLINE)
    return done.returncode


def test_a_bridge_that_exists_is_adopted(lab: Lab, tmp_path: Path) -> None:
    """A bridge that is there keeps its first IPv4 address, which is the gateway, and stays after `--down`."""
    lab.run("host", ["ip", "link", "add", "br7", "type", "bridge"])
    for address in ("10.9.1.1/24", "10.9.0.1/24"):
        lab.run("host", ["ip", "address", "add", address, "dev", "br7"])
    flags = ("--socket", tmp_path / "s", "--state", tmp_path / "state", "--bridge", "br7")
    with agent(lab, tmp_path / "a", *flags), Wire(tmp_path / "s") as wire:
        [default] = wire.call("networks")
        assert (default["subnet"], default["gateway"]) == ("10.9.1.0/24", "10.9.1.1")
        assert wire.call("allocate", id="web", netns=lab.container("web"))["ip"] == "10.9.1.2"
        lab.echo_server("host", "tcp", 9000)
        assert lab.can_reach("web", ("10.9.1.1", 9000), timeout=5)
    assert down(lab, *flags) == 0
    left = lab.run("host", ["ip", "address", "show", "dev", "br7"])
    assert "10.9.1.1/24" in left
    assert "10.9.0.1/24" in left


def test_logs_are_json_when_nobody_looks(lab: Lab, tmp_path: Path) -> None:
    """To a file every line is one JSON object with event, level and time."""
    flags = ("--kernel", "memory", "--socket", tmp_path / "s", "--state", tmp_path / "state")
    with agent(lab, tmp_path / "a", *flags), Wire(tmp_path / "s") as wire:
        wire.call("allocate", id="web", ports=["8080:80"])
    lines = [json.loads(line) for line in (tmp_path / "a/log").read_text().splitlines()]
    assert all(line.keys() >= {"event", "level", "timestamp"} for line in lines)
    [mapped] = [line for line in lines if line["event"] == "mapping_published"]
    assert mapped["id"] == "web"


def test_the_socket_is_where_it_is_when_nothing_is_said(lab: Lab, tmp_path: Path) -> None:
    """Without a flag or variable the socket of root is `/run/moorage/moorage.sock`."""
    flags = ("--kernel", "memory", "--state", tmp_path / "state")
    with agent(lab, tmp_path / "a", *flags), Wire(Path("/run/moorage/moorage.sock")) as wire:
        assert wire.call("hello")["name"] == "moorage"


STRANGER = """
import os, sys
from pathlib import Path
from contract.wire import Wire
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
with Wire(Path(sys.argv[1])) as wire:
    error, result = wire.ask("hello", [])
print(error[1] if error else result["name"])
"""


@pytest.mark.parametrize(
    ("config", "answer"),
    [
        ({}, "denied: uid 65534 "),
        ({"allow_uids": [65534]}, "moorage"),
        ({"allow_gids": [65534]}, "moorage"),
    ],
)
def test_the_peer_decides_and_not_the_file(lab: Lab, config: dict[str, Any], answer: str) -> None:
    """A stranger is denied even where the file lets everybody in, unless the configuration names it."""
    if not strangers_exist():
        decision = refusal(Peer(65534, frozenset({65534})), Config(**config))
        assert str(decision or "moorage").startswith(answer)
        return
    with tempfile.TemporaryDirectory(dir="/run") as name:
        directory = Path(name)
        directory.chmod(0o755)
        (directory / "config.toml").write_text("".join(f"{key} = {value}\n" for key, value in config.items()))
        flags = ("--kernel", "memory", "--config", directory / "config.toml", "--state", directory / "state")
        with agent(lab, directory / "a", *flags, "--socket", directory / "s"):
            (directory / "s").chmod(0o666)
            assert stranger(directory / "s").startswith(answer)


def strangers_exist() -> bool:
    """Whether there is more than one user here: a user namespace of an ordinary user has only that."""
    ranges = Path("/proc/self/uid_map").read_text().splitlines()
    return sum(int(each.split()[2]) for each in ranges) > 1


def stranger(sock: Path) -> str:
    """What a process of uid and gid 65534 is answered."""
    argv = [sys.executable, "-c", STRANGER, str(sock)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(argv, capture_output=True, text=True, timeout=DEADLINE, check=True, env=environment)
    return done.stdout
