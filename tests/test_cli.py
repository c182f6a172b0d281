"""The command line, against an agent that answers as told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moorage.cli import main
from moorage.errors import Code, Fault, Refused
from moorage.rpc.codec import Notification, Response
from moorage.version import VERSION
from scripted_agent import Hangup, ScriptedAgent, calls

ROOT = Path(__file__).parents[1]
PROGRAM = ROOT / "bin/moorage"
DEADLINE = 30
TCP = {"proto": "tcp", "host_ip": "127.0.0.1", "host_port": 8080, "container_port": 80, "count": 1}
UDP = {"proto": "udp", "host_ip": "0.0.0.0", "host_port": 8000, "container_port": 9000, "count": 2}  # noqa: S104 - a value
WEB = {
    "id": "web",
    "network": "default",
    "ip": "10.0.42.2",
    "prefix": 24,
    "gateway": "10.0.42.1",
    "mac": "02:42:0a:00:2a:02",
    "netns": None,
    "ifname": None,
    "ports": [TCP, UDP],
    "labels": {"app": "web"},
    "created": "2026-01-01T00:00:00Z",
}
DEFAULT = {
    "name": "default",
    "bridge": "moorage0",
    "subnet": "10.0.42.0/24",
    "gateway": "10.0.42.1",
    "internal": False,
    "mtu": 1500,
}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[ScriptedAgent]:
    """An agent that still has to be given its answers."""
    with ScriptedAgent(tmp_path / "agent.sock") as agent:
        yield agent


@pytest.fixture
def run(agent: ScriptedAgent, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command against the agent with these answers; gives exit code, stdout, stderr."""

    def run(arguments: str, *answers: Any) -> tuple[int, str, str]:
        monkeypatch.setenv("MOORAGE_SOCKET", str(agent.path))
        agent.answers = list(answers)
        try:
            code = main(arguments.split())
        except SystemExit as exit_:
            code = int(exit_.code or 0)
        return code, *capsys.readouterr()

    return run


def program(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PROGRAM, *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False, **options
    )


@pytest.mark.parametrize(
    ("arguments", "method", "params"),
    [
        ("allocate", "allocate", {"ports": []}),
        (
            "allocate web -p 8080:80 -p 53/udp --network back --ip 10.0.42.9 --netns pid:7 --label a=b=c",
            "allocate",
            {
                "id": "web",
                "ports": ["8080:80", "53/udp"],
                "network": "back",
                "ip": "10.0.42.9",
                "netns": "pid:7",
                "labels": {"a": "b=c"},
            },
        ),
        ("attach web /run/netns/web", "attach", {"id": "web", "netns": "/run/netns/web"}),
        ("detach web", "detach", {"id": "web"}),
        ("publish web 80 [::1]:53:53/udp", "publish", {"id": "web", "ports": ["80", "[::1]:53:53/udp"]}),
        ("unpublish web 80", "unpublish", {"id": "web", "ports": ["80"]}),
        ("unpublish web", "unpublish", {"id": "web"}),
    ],
)
def test_changes_are_asked_for_and_shown(
    arguments: str, method: str, params: dict[str, Any], run: Run, agent: ScriptedAgent
) -> None:
    """A changing command sends what it was told, and prints the interface as a table or as JSON."""
    code, out, err = run(arguments, WEB)

    assert (code, err) == (0, "")
    assert calls(agent.requests) == [(method, params)]
    assert out.splitlines() == [
        "ID   NETWORK  ADDRESS    NETNS  PORTS",
        "web  default  10.0.42.2  -      127.0.0.1:8080->80, 8000-8001->9000-9001/udp",
    ]
    assert json.loads(run(f"{arguments} --json", WEB)[1]) == WEB


def test_ps_without_interfaces_has_only_a_head(run: Run) -> None:
    """`ps` of nothing prints the heads, and `[]` as JSON."""
    assert run("ps", []) == (0, "ID  NETWORK  ADDRESS  NETNS  PORTS\n", "")
    assert run("ps --json", []) == (0, "[]\n", "")


def test_what_a_terminal_would_obey_is_not_printed(run: Run) -> None:
    """Control characters in a name of the agent's come out in a form that can be read."""
    assert "/run/\\x1b[2J" in run("ps", [WEB | {"netns": "/run/\x1b[2J"}])[1]


def test_ps_takes_a_network(run: Run, agent: ScriptedAgent) -> None:
    """`ps --network` asks for the interfaces of one network."""
    run("ps --network back", [])

    assert calls(agent.requests) == [("list", {"network": "back"})]


def test_inspect_has_the_dictionaries_of_2013(run: Run) -> None:
    """`inspect` prints the interface with NetworkSettings, ranges port by port, values as strings."""
    code, out, _ = run("inspect web", WEB, [DEFAULT])

    assert code == 0
    assert json.loads(out) == WEB | {
        "NetworkSettings": {
            "IPAddress": "10.0.42.2",
            "IPPrefixLen": 24,
            "Gateway": "10.0.42.1",
            "Bridge": "moorage0",
            "PortMapping": {"Tcp": {"80": "8080"}, "Udp": {"9000": "8000", "9001": "8001"}},
        }
    }


def test_inspect_has_tcp_and_udp_always(run: Run) -> None:
    """An interface without ports has both keys, empty."""
    settings = json.loads(run("inspect web", WEB | {"ports": []}, [DEFAULT])[1])["NetworkSettings"]

    assert settings["PortMapping"] == {"Tcp": {}, "Udp": {}}


def test_release_goes_through_all_ids(run: Run, agent: ScriptedAgent) -> None:
    """`release` releases each id in turn, and says of each whether it was there."""
    code, out, _ = run("release web db", {"released": True}, {"released": False})

    assert (code, out) == (0, "web released\ndb was not there\n")
    assert calls(agent.requests) == [("release", {"id": "web"}), ("release", {"id": "db"})]
    out = run("release web --json", {"released": True})[1]
    assert json.loads(out) == {"id": "web", "released": True}


def test_networks_are_listed_created_and_removed(run: Run, agent: ScriptedAgent) -> None:
    """`networks` lists, `create` makes one of the options given, `rm` removes one."""
    listed = run("networks", [DEFAULT])[1]
    run("networks create back --subnet 10.1.0.0/24 --internal --mtu 9000", DEFAULT)
    removed = run("networks rm back", {"removed": False})[1]

    assert "default  moorage0  10.0.42.0/24  10.0.42.1  -        no        1500" in listed
    assert removed == "back was not there\n"
    assert calls(agent.requests) == [
        ("networks", {}),
        ("create_network", {"name": "back", "subnet": "10.1.0.0/24", "internal": True, "mtu": 9000}),
        ("remove_network", {"name": "back"}),
    ]


@pytest.mark.parametrize(
    "arguments", ["networks create back --json --socket {}", "networks --json --socket {} rm back"]
)
def test_client_options_are_taken_anywhere(
    arguments: str, run: Run, agent: ScriptedAgent, tmp_path: Path
) -> None:
    """`--socket` and `--json` count before and after an action, and `--socket` before the environment."""
    with ScriptedAgent(tmp_path / "other.sock", DEFAULT | {"removed": True}) as other:
        code, out, _ = run(arguments.format(other.path))

    assert code == 0
    assert json.loads(out)["name"] in {"back", "default"}
    assert (len(other.requests), agent.requests) == (1, [])


def actor(name: str, parent: str | None) -> dict[str, Any]:
    what = {"kind": "worker", "state": "running", "restarts": 2, "mailbox": 0, "since": "now"}
    return {"name": name, "parent": parent, **what}


def test_tree_is_indented(run: Run) -> None:
    """`tree` shows each actor under its parent with its state and restarts, in the agent's order."""
    parents = {
        "root": None,
        "journal": "root",
        "allocators": "root",
        "ip:default": "allocators",
        "links": "root",
    }
    out = run("tree", [actor(*each) for each in parents.items()])[1].splitlines()

    assert [line.split("worker")[0].rstrip() for line in out[1:]] == [
        "root",
        "  journal",
        "  allocators",
        "    ip:default",
        "  links",
    ]
    assert out[1].split()[1:4] == ["worker", "running", "2"]


def test_tree_shows_an_actor_whose_parent_is_gone(run: Run) -> None:
    """An actor whose parent is not among them, as in the middle of a restart, is shown at the margin."""
    assert "\nlost" in run("tree", [actor("lost", "elsewhere")])[1]


def test_status_has_a_line_for_each_number(run: Run) -> None:
    """`status` prints names and numbers."""
    numbers = dict.fromkeys(("networks", "interfaces", "mappings", "proxies", "restarts", "repaired"), 3)
    out = run("status", numbers | {"kernel": "memory", "started": "now"})[1]

    assert out.splitlines()[4] == "kernel:     memory"


def test_why_says_what_is_wrong(run: Run, agent: ScriptedAgent) -> None:
    """`why` prints the steps of a port's way with a mark on each."""
    steps = [
        {"step": "rule", "ok": True, "text": "is there"},
        {"step": "listener", "ok": False, "text": "none"},
    ]

    assert run("why 8080/tcp", steps)[1].splitlines()[1:] == ["ok  rule      is there", "NO  listener  none"]
    assert calls(agent.requests) == [("why", {"port": "8080/tcp"})]


def test_version_needs_no_agent(run: Run, agent: ScriptedAgent) -> None:
    """`version` says the version, asking nobody."""
    assert run("version") == (0, f"moorage {VERSION}\n", "")
    assert json.loads(run("version --json")[1]) == {"name": "moorage", "version": VERSION}
    assert agent.requests == []


@pytest.mark.parametrize(
    ("answer", "code", "text"),
    [
        (
            Refused(Code.PORT_IN_USE, "port 80 is\nheld by web"),
            1,
            "moorage: port_in_use: port 80 is\\nheld by web\n",
        ),
        (Fault("the journal died"), 4, "moorage: internal: the journal died\n"),
    ],
)
def test_failures_are_one_sentence_and_an_exit_code(
    answer: Exception, code: int, text: str, run: Run
) -> None:
    """A refusal exits with 1, a fault with 4, each with one line on stderr and nothing on stdout."""
    assert run("publish web 80:80", answer, answer) == (code, "", text)


def test_an_agent_that_cannot_be_reached_is_exit_3(run: Run, tmp_path: Path) -> None:
    """Without an agent, or with one that hangs up, the exit code is 3."""
    code, out, err = run(f"ps --socket {tmp_path}/none.sock")

    assert (code, out) == (3, "")
    assert err.startswith("moorage: unreachable: no agent answers at ")
    assert run("ps", Hangup(), Hangup())[0] == 3


@pytest.mark.parametrize("command", ["publish web 80:", "allocate -p 80/TCP", "unpublish web 1:2:3"])
def test_a_bad_spec_is_refused_without_an_agent(command: str, run: Run, tmp_path: Path) -> None:
    """A port spec that cannot be read exits with 1 and names it, whether or not an agent is there."""
    code, _, err = run(f"{command} --socket {tmp_path}/none.sock")

    assert code == 1
    assert err.startswith("moorage: invalid: port spec ")


@pytest.mark.parametrize(
    "arguments",
    ["", "nonsense", "publish web", "release", "ps --jso", "networks create", "allocate --label a"],
)
def test_usage_errors_exit_with_2(arguments: str, run: Run, agent: ScriptedAgent) -> None:
    """What is no command line exits with 2, having asked nothing."""
    assert run(arguments)[0] == 2
    assert agent.requests == []


def test_a_bug_is_a_fault(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception that nobody foresaw shows its traceback and exits with 4, which is not "refused"."""
    monkeypatch.setattr("moorage.cli.commands.print", lambda *_, **__: 1 / 0, raising=False)
    code, _, err = run("ps", [])

    assert code == 4
    assert "ZeroDivisionError" in err


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


def test_events_end_with_the_agent(run: Run) -> None:
    """When the agent ends, `events` says so and exits with 3; as JSON each event is a line."""
    event = {"event": "repaired", "time": "now", "what": "a rule"}
    code, out, err = run("events --json", Hangup(Response(0, None, None), Notification("event", [event])))

    assert (code, json.loads(out)) == (3, event)
    assert err.startswith("moorage: unreachable: ")


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


def agent_command(monkeypatch: pytest.MonkeyPatch, arguments: Sequence[str]) -> tuple[int, str, Any]:
    """Run `moorage agent` with the service replaced; gives exit code, what was called, its configuration."""
    called: list[tuple[str, Any]] = []
    service = SimpleNamespace(
        run=lambda config: called.append(("run", config)) or 0,
        down=lambda config: called.append(("down", config)) or 0,
    )
    monkeypatch.setitem(sys.modules, "moorage.service", service)
    code = main(["agent", *arguments])
    return code, *(called[0] if called else ("", None))


def test_flags_of_the_agent_go_before_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`agent` takes its configuration from the file and the flags, flags first."""
    monkeypatch.delenv("MOORAGE_SOCKET", raising=False)
    file = tmp_path / "moorage.toml"
    file.write_text('bridge = "br7"\nsocket = "/run/a.sock"\nquarantine = 5\n')

    code, what, config = agent_command(
        monkeypatch,
        ["--config", str(file), "--bridge", "br8", "--kernel", "memory", "--chaos", "--state", str(tmp_path)],
    )

    assert (code, what) == (0, "run")
    assert (config.bridge, config.socket, config.quarantine) == ("br8", "/run/a.sock", 5)
    assert (config.kernel, config.chaos, config.state) == ("memory", True, str(tmp_path))


@pytest.mark.parametrize(
    ("flags", "environment", "socket"),
    [
        (["--socket", "/run/b.sock"], "/run/c.sock", "/run/b.sock"),
        ([], "/run/c.sock", "/run/c.sock"),
        ([], "", None),
    ],
)
def test_the_socket_is_the_flag_or_the_environment(
    flags: list[str], environment: str, socket: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent listens where `--socket` says, else `$MOORAGE_SOCKET`."""
    monkeypatch.setenv("MOORAGE_SOCKET", environment)

    assert agent_command(monkeypatch, flags)[2].socket == socket


def test_agent_down_is_another_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """`agent --down` removes, with the configuration of the same flags."""
    _, what, config = agent_command(monkeypatch, ["--down", "--bridge", "br8"])

    assert (what, config.bridge) == ("down", "br8")


@pytest.mark.parametrize("flag", [["--bridge", "a/b"], ["--kernel", "windows"], ["--subnet", "10.0.0.0"]])
def test_a_wrong_flag_ends_the_start(
    flag: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong value is refused, naming its key, and nothing is started."""
    code, what, _ = agent_command(monkeypatch, flag)

    assert (code, what) == (1, "")
    assert flag[0].removeprefix("--") in capsys.readouterr().err
