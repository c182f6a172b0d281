"""Clients who are neither root nor the agent's user, and the namespaces that they name."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess
from lab import Lab
from users import EVE, User, open_directory

pytestmark = pytest.mark.system


@pytest.fixture
def directory() -> Iterator[Path]:
    """Where everybody reaches an agent's socket."""
    yield from open_directory("callers")


def test_a_client_names_what_it_may_look_at(directory: Path) -> None:
    """A hidden path is denied in the same words whatever is there, and nothing is kept; all others are as before."""
    with Lab() as lab, User() as user, AgentProcess(lab, directory, allow_uids=[EVE]) as agent:
        secret = directory / "secret"
        secret.mkdir(mode=0o700)
        hidden, shown = secret / "x", directory / "web.ns"
        shown.touch()
        subprocess.run(["mount", "--bind", lab.container("web"), str(shown)], check=True)
        pid = lab.popen("web", ["sleep", "60"]).pid

        def ask(method: str, **asked: Any) -> Any:
            return user.ask(agent.socket, method, **asked)

        ask("allocate", id="idle")
        makers: list[Callable[[], Any]] = [lambda: None, hidden.mkdir, lambda: hidden.symlink_to(shown)]
        for method, more in (("allocate", {"id": "web"}), ("attach", {"id": "idle"})):
            said = set()
            for make in makers:
                make()
                said.add(ask(method, netns=str(hidden), **more))
                if hidden.is_dir() and not hidden.is_symlink():
                    hidden.rmdir()
                hidden.unlink(missing_ok=True)
            (text,) = said
            assert text.startswith(f"denied: {hidden} may not be looked at by uid {EVE}")
        assert [each.id for each in agent.client.list()] == ["idle"]

        for netns in (str(shown), Path(lab.path("web")).name, f"pid:{pid}"):
            assert ask("allocate", id="web", netns=netns)["ifname"] == "eth0"
            assert ask("release", id="web") == {"released": True}
        hidden.symlink_to(shown)
        assert agent.client.allocate("web", netns=str(hidden)).netns == str(hidden)
