"""Commands that only ask."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from moorage.version import VERSION
from scripted_agent import ScriptedAgent, calls
from wire_samples import DEFAULT, WEB

Run = Callable[..., tuple[int, str, str]]
"""Runs a command line with these answers; gives exit code, stdout, stderr."""


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


def test_the_socket_may_be_named_before_the_command(agent: ScriptedAgent, run: Run, tmp_path: Path) -> None:
    """`--socket` and `--json` mean the same before the command as after it, where they come last."""
    assert run(f"--socket {tmp_path}/none.sock ps")[0] == 3
    assert run(f"--json --socket {agent.path} ps", []) == (0, "[]\n", "")
    assert run(f"--socket {tmp_path}/none.sock ps --socket {agent.path} --json", []) == (0, "[]\n", "")


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


def test_status_ends_with_the_warnings(run: Run) -> None:
    """`status` prints a line for each warning, and gives them as an array with `--json`."""
    numbers = dict.fromkeys(("networks", "interfaces", "mappings", "proxies", "restarts", "repaired"), 3)
    answer = numbers | {"kernel": "linux", "started": "now", "warnings": ["one\nthing", "another"]}

    assert run("status", answer)[1].splitlines()[8:] == ["warning:    one\\nthing", "warning:    another"]
    assert json.loads(run("status --json", answer)[1]) == answer


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
