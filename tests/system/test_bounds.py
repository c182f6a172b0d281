"""The kernel's own bounds, met by a client of a running agent."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents import AgentProcess
from lab import Lab
from moorage.errors import Code, Refused

pytestmark = pytest.mark.system


def test_a_full_bridge_is_a_limit(lab: Lab, tmp_path: Path) -> None:
    """With 1,023 ports on a bridge `allocate` is `limit`, and keeps nothing; with one less it is done."""
    with AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        batch = (
            f"link add f{n} type veth peer name p{n}\nlink set f{n} master moorage0" for n in range(1023)
        )
        lab.run("host", ["ip", "-batch", "-"], input="\n".join(batch))
        netns = lab.container("web")
        with pytest.raises(Refused, match="1,023 ports") as refused:
            agent.client.allocate("web", netns=netns, ports=["8080:80"])
        assert refused.value.code == Code.LIMIT
        assert agent.client.list() == []
        lab.run("host", ["ip", "link", "del", "f0"])
        assert agent.client.allocate("db", netns=netns, ports=["8080:80"]).netns == netns
        assert agent.log("actor_restarted") == []
