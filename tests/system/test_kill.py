"""An agent that is killed in the middle of its work, on the real kernel."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

import agents
from agents import AgentProcess
from agreement import assert_agreement_on_host
from lab import HOST, Lab
from moorage import Client, Fault, Interface, Refused, Unreachable

pytestmark = pytest.mark.system

PUBLISHES = 100
WORKERS = 8


class Traffic:
    """Connections made one after the other through a published port, and how many failed."""

    def __init__(self, lab: Lab, port: int) -> None:
        self.made = 0
        self.failures: list[str] = []
        self._lab, self._port = lab, port
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.is_set():
            try:
                self._lab.connect("outside", (HOST, self._port))
            except OSError as error:
                self.failures.append(repr(error))
            self.made += 1

    def stop(self) -> None:
        self._over.set()


@contextmanager
def traffic(lab: Lab, port: int) -> Iterator[Traffic]:
    """Connect from outside again and again while the block runs."""
    flowing = Traffic(lab, port)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(flowing.run)
        try:
            agents.until(lambda: flowing.made > 5 or call.done())
            yield flowing
        finally:
            flowing.stop()
        call.result(20)


def publish(agent: AgentProcess, number: int) -> Interface:
    """Publish until there is an answer, always as the same request."""
    with Client(agent.socket, timeout=20) as client:
        while True:
            try:
                return client.publish("web", ["80", "53/udp"], request=f"request-{number}")
            except (Unreachable, Fault):
                threading.Event().wait(0.05)
            except Refused as refusal:
                if refusal.code != "unavailable":
                    raise


def test_nothing_is_lost_or_taken_twice(tmp_path: Path) -> None:
    """Killed in the middle of a hundred publishes and started again, the agent has what every client was told, once."""
    with Lab() as lab, AgentProcess(lab, tmp_path, subnet="10.0.42.1/24") as agent:
        container = lab.container("web")
        lab.echo_server("web", "tcp", 80)
        agent.client.allocate("web", netns=container, ports=["8080:80"])
        with traffic(lab, 8080) as flowing, ThreadPoolExecutor(WORKERS) as pool:
            calls = [pool.submit(publish, agent, number) for number in range(PUBLISHES)]
            agents.until(lambda: sum(call.done() for call in calls) > PUBLISHES // 4)
            assert agent.replace(signal.SIGKILL) == -signal.SIGKILL
            told = [call.result(60) for call in calls]
            made = flowing.made
            agents.until(lambda: flowing.made > made + 5)
        assert flowing.failures == []
        web = agent.client.inspect("web")
        assert len(web.ports) == 1 + 2 * PUBLISHES
        assert len({mapping.name for mapping in web.ports}) == len(web.ports)
        assert all(set(each.ports) <= set(web.ports) for each in told)
        assert [publish(agent, number) for number in range(PUBLISHES)] == told
        assert_agreement_on_host(agent, lab)
        tcp = [mapping for mapping in web.ports if mapping.proto == "tcp"]
        for mapping in (tcp[1], tcp[-1]):
            assert lab.connect("outside", (HOST, mapping.host_port)).server == "web"
