"""Who may use the agent, by what the kernel says of the client."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage import Agent, Config
from moorage.rpc.credentials import Peer, refusal
from moorage.rpc.schema import METHODS

STRANGER, GROUP, OTHER = 4711, 4712, 4713

ASK = """
import json, os, sys
sys.path[:] = json.loads(sys.argv[1])
from moorage.errors import MoorageError
from moorage.rpc.connection import Connection
os.setgroups(json.loads(sys.argv[5]))
os.setgid(int(sys.argv[4]))
os.setuid(int(sys.argv[3]))
connection = Connection(sys.argv[2], 10.0)
answers = {}
for method in json.loads(sys.argv[6]):
    try:
        answers[method] = repr(connection.call(method, {}))
    except MoorageError as error:
        answers[method] = str(error)
print(json.dumps(answers))
"""


@pytest.mark.parametrize(
    ("peer", "config", "allowed"),
    [
        (Peer(0, frozenset()), {}, True),
        (Peer(os.geteuid(), frozenset()), {}, True),
        (Peer(STRANGER, frozenset({0})), {}, False),
        (Peer(STRANGER, frozenset()), {"allow_uids": (STRANGER,)}, True),
        (Peer(STRANGER, frozenset()), {"allow_uids": (OTHER,)}, False),
        (Peer(STRANGER, frozenset({OTHER, GROUP})), {"allow_gids": (GROUP,)}, True),
        (Peer(GROUP, frozenset({OTHER})), {"allow_gids": (GROUP,)}, False),
        (Peer(STRANGER, frozenset({OTHER})), {"allow_uids": (OTHER,)}, False),
    ],
)
def test_who_may(peer: Peer, config: dict[str, Any], allowed: bool) -> None:
    """Root, the agent's own user, and whom the configuration names by user or group may use the agent."""
    refused = refusal(peer, Config(**config))
    assert (refused is None) == allowed
    if refused is not None:
        assert refused.code == "denied"
        assert f"uid {peer.uid}" in refused.text


@pytest.fixture
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., dict[str, str]]]:
    """Start an agent, and ask it as another user: the answers by method."""
    if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/uid_map").read_text():
        pytest.skip("becoming another user needs to be root of the host")
    agents: list[Agent] = []
    directory = Path(f"/run/moorage-credentials-{os.getpid()}")
    directory.mkdir(mode=0o755)

    def start_and_ask(
        uid: int, gid: int, groups: list[int], methods: list[str], **config: Any
    ) -> dict[str, str]:
        socket = directory / "agent.sock"
        state = tmp_path_factory.mktemp("state") / "state"
        agents.append(Agent(Config(kernel="memory", state=state, socket=socket, **config)).start())
        if not config:
            socket.chmod(0o666)  # whatever the file's mode
        argv = [
            json.dumps(sys.path),
            str(socket),
            str(uid),
            str(gid),
            json.dumps(groups),
            json.dumps(methods),
        ]
        done = subprocess.run(
            [sys.executable, "-c", ASK, *argv],
            capture_output=True,
            text=True,
            check=True,
            timeout=30,
            cwd="/",
        )
        answers: dict[str, str] = json.loads(done.stdout)
        return answers

    yield start_and_ask
    for agent in agents:
        agent.stop()
    for left in directory.iterdir():
        left.unlink()
    directory.rmdir()


@pytest.mark.system
def test_a_stranger_is_denied_everything(ask: Callable[..., dict[str, str]]) -> None:
    """Another user is denied every method, the harmless and the unknown too, whatever the socket's mode."""
    methods = [*METHODS, "nonsense"]
    answers = ask(STRANGER, GROUP, [OTHER], methods)
    assert {method: answer.split(":")[0] for method, answer in answers.items()} == dict.fromkeys(
        methods, "denied"
    )


@pytest.mark.system
@pytest.mark.parametrize(
    ("gid", "groups", "config"),
    [
        (GROUP, [], {"allow_uids": (STRANGER,)}),
        (GROUP, [], {"allow_gids": (GROUP,)}),
        (OTHER, [GROUP], {"allow_gids": (GROUP,)}),
        (OTHER, [*range(5000, 5200), GROUP], {"allow_gids": (GROUP,)}),
    ],
    ids=["user", "group", "supplementary group", "one of many groups"],
)
def test_a_friend_is_served(
    ask: Callable[..., dict[str, str]], gid: int, groups: list[int], config: dict[str, Any]
) -> None:
    """A user who is named, or one of whose groups is, may use the agent, with its socket as it makes it."""
    assert "moorage" in ask(STRANGER, gid, groups, ["hello"], **config)["hello"]
