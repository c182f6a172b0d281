"""MessagePack-RPC clients that others wrote, in Python and JavaScript, on an agent's socket."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage import Agent, Config

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
PEERS = HERE.parents[1] / ".peers"


@pytest.fixture
def agent(state: Path) -> Iterator[Agent]:
    """A running agent."""
    with Agent(Config(kernel="memory", state=state, subnet="10.0.42.1/24")) as made:
        yield made


@pytest.fixture(scope="session")
def node_modules() -> Path:
    """Where bin/test installed the JavaScript client: here there is no way to a registry."""
    installed = PEERS / "node_modules"
    if shutil.which("node") is None or not (installed / "msgpack5rpc").is_dir():
        pytest.skip("the JavaScript client msgpack5rpc needs node and npm: install them, and run bin/test")
    return installed


def converse(argv: list[str], **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=30, check=False, env=os.environ | environment
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def check(agent: Agent, told: dict[str, Any]) -> None:
    """What a client was told in `peers/client.*` is what the agent did."""
    assert told["hello"]["name"] == "moorage"
    assert told["hello"]["pid"] == os.getpid()
    assert (told["allocated"]["ip"], told["allocated"]["labels"]) == ("10.0.42.2", {"über": "grün"})
    assert [port["host_port"] for port in told["published"]["ports"]] == [8080, 49153]
    assert told["list"] == [told["published"]]
    assert "not_found" in json.dumps(told["error"])
    assert told["released"] == {"released": True}
    assert [(name, args[0]["event"]) for name, args in told["events"]] == [
        ("event", "interface_allocated"),
        ("event", "interface_released"),
    ]
    assert agent.list() == []


def test_a_python_client(agent: Agent) -> None:
    """The client of pynvim allocates, publishes, lists, is refused, hears events and releases."""
    check(agent, converse([sys.executable, str(HERE.parent / "peers" / "client.py"), str(agent.socket)]))


def test_a_javascript_client(agent: Agent, node_modules: Path) -> None:
    """The npm package msgpack5rpc does the same."""
    script = HERE.parent / "peers" / "client.js"
    check(agent, converse(["node", str(script), str(agent.socket)], NODE_PATH=str(node_modules)))
