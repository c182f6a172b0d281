"""A local user who listens at thousands of ports holds nobody up."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents import AgentProcess, until
from lab import Lab
from moorage.errors import Code, Refused

pytestmark = pytest.mark.system

FIRST, TAKEN = 49153, 1500
SOON = 2.0


@pytest.fixture
def crowd() -> Iterator[None]:
    """Enough descriptors for a crowd of listeners."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8192), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def listen(family: int, port: int) -> socket.socket:
    made = socket.socket(family)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    made.bind(("", port))
    made.listen(1)
    return made


@pytest.mark.usefixtures("crowd")
@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
@pytest.mark.parametrize("proxy", ["always", "never"])
def test_ports_that_others_listen_at_are_passed_over_at_once(tmp_path: Path, family: int, proxy: str) -> None:
    """With the first 1,500 automatic ports taken, of either family, the next is given within two seconds."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24", proxy=proxy) as agent:
        held = [lab.call("host", listen, family, FIRST + number) for number in range(TAKEN)]
        try:
            began = time.monotonic()
            web = agent.client.allocate("web", ports=["80"])
            assert time.monotonic() - began < SOON
            assert web.ports[0].host_port == FIRST + TAKEN
            with pytest.raises(Refused, match="pid") as refused:
                agent.client.publish("web", [f"{FIRST}:81"])
            assert refused.value.code == Code.PORT_IN_USE
        finally:
            for each in held:
                each.close()


def test_a_hangup_changes_nothing(tmp_path: Path) -> None:
    """SIGHUP, as a terminal that closes sends it, leaves the agent as it is."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        os.kill(agent.pid, signal.SIGHUP)
        agent.client.allocate("web")
        until(lambda: agent.client.inspect("web").id == "web")
        assert agent.terminate() == 0
