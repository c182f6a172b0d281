"""Commands that change something: what they ask for, and what they print."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripted_agent import ScriptedAgent, calls
from wire_samples import DEFAULT, WEB

Run = Callable[..., tuple[int, str, str]]
"""Runs a command line with these answers; gives exit code, stdout, stderr."""


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
        (
            "publish web 443:443 --source proxy-v2",
            "publish",
            {"id": "web", "ports": ["443:443"], "source": "proxy-v2"},
        ),
        (
            "allocate web -p 80 --source gateway",
            "allocate",
            {"id": "web", "ports": ["80"], "source": "gateway"},
        ),
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
    run("networks create back --subnet 10.1.0.0/24 --internal --mtu 9000 --proxy never", DEFAULT)
    removed = run("networks rm back", {"removed": False})[1]

    assert "default  moorage0  10.0.42.0/24  10.0.42.1  -        no        1500  always" in listed
    assert removed == "back was not there\n"
    assert calls(agent.requests) == [
        ("networks", {}),
        (
            "create_network",
            {"name": "back", "subnet": "10.1.0.0/24", "internal": True, "mtu": 9000, "proxy": "never"},
        ),
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
