"""An agent whose service manager keeps its listening sockets while there is no process."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents import START, AgentProcess, until
from callers import PROXIED, calling, connecting
from echo_server import ask
from installation import Installation
from lab import Lab
from service_manager import ServiceManager

pytestmark = pytest.mark.system

ROUNDS = int(os.environ.get("MOORAGE_HANDOVERS", "3"))
"""Restarts in the long test; thousands for a soak."""


class ManagedAgent(AgentProcess):
    """An agent that a service manager starts."""

    def __init__(self, lab: Lab, directory: Path, manager: ServiceManager, **config: Any) -> None:
        super().__init__(lab, directory, **config)
        self.manager = manager

    def start(self) -> ManagedAgent:
        """Start it with what the manager stored, and wait until it is ready."""
        assert self._process is None
        with self._log.open("a") as log:
            self._process = self.lab.call(self.inside, self.manager.run, self._argv(), stdout=log, stderr=log)
        if not self.manager.wait_ready(START):
            self.kill()
            raise AssertionError(f"the agent did not become ready:\n{self._log.read_text()}")
        return self


@contextmanager
def installed(directory: Path, **manager: int) -> Iterator[tuple[Installation, ServiceManager]]:
    settings: dict[str, Any] = {"subnet": "10.0.42.1/24", "loopback": "proxy"}
    with (
        Lab() as lab,
        ServiceManager(directory, **manager) as made,
        ManagedAgent(lab, directory, made, **settings) as agent,
    ):
        yield Installation(lab, agent), made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Installation, ServiceManager]]:
    """An installation whose 127.0.0.1 and ::1 are carried by proxies, and its manager."""
    with installed(tmp_path_factory.mktemp("store")) as made:
        yield made


@pytest.fixture
def at(both: tuple[Installation, ServiceManager]) -> Installation:
    """The installation."""
    return both[0]


@pytest.fixture
def manager(both: tuple[Installation, ServiceManager]) -> ServiceManager:
    """The service manager."""
    return both[1]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_nobody_is_refused(at: Installation, how: signal.Signals) -> None:
    """Whoever connects while the agent is killed or restarted waits a moment for the next one."""
    with connecting(at, killed=True) as seen, calling(at) as called:
        for _ in range(ROUNDS):
            at.agent.replace(how)
            until(lambda before=seen.count: seen.count > before)
    assert seen.failed == []
    assert called.failed == []
    assert called.count > 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_udp_clients_go_on(at: Installation, how: signal.Signals) -> None:
    """A datagram that comes while there is no agent is answered by the next."""
    clients = [at.lab.open("host", (to, 8080), "udp") for to in PROXIED]
    for each in clients:
        ask(each)
    at.agent.kill() if how is signal.SIGKILL else at.agent.terminate()
    for each in clients:
        each.send(b"while away\n")
    at.agent.start()
    for each in clients:
        assert each.recv(100).endswith(b" web while away\n")


def test_a_port_is_free_when_it_is_unpublished(at: Installation, manager: ServiceManager) -> None:
    """The manager has closed its copy before the agent answers."""
    for _ in range(10):
        at.client.publish("web", ["8720:80"])
        until(lambda: "proxy~tcp/0.0.0.0~8720" in manager.names)  # nobody waits until it is put there
        at.client.unpublish("web", ["8720:80"])
        with at.lab.call("host", socket.create_server, ("", 8720)):
            assert "proxy~tcp/0.0.0.0~8720" not in manager.names


def test_a_crashed_proxy_listens_again(at: Installation) -> None:
    """A proxy that crashed is not kept from its port by the copy of it."""
    waited = len(at.agent.log("listener_waiting"))
    with at.agent.events("actor_restarted") as events:
        at.client.crash("proxy:tcp/0.0.0.0:8080")
        events.named("actor_restarted")
    until(lambda: at.lab.can_reach("host", ("::1", 8080)))
    assert len(at.agent.log("listener_waiting")) == waited


def test_a_crashed_gateway_listens_again(at: Installation, manager: ServiceManager) -> None:
    """A gateway that crashed leaves one socket in the store, which the next process takes."""
    at.client.crash("gateway")
    until(lambda: at.client.hello().pid == at.agent.pid)
    assert len([name for name in manager.names if name.startswith("gateway")]) == 1
    at.agent.replace(signal.SIGKILL)
    assert at.client.hello().pid == at.agent.pid
    assert len([name for name in manager.names if name.startswith("gateway")]) == 1


def test_long_ranges_are_stored_too(at: Installation, manager: ServiceManager) -> None:
    """A range of more ports than fit into one message is kept whole, and taken over whole."""
    at.client.publish("web", ["20000-20599:80-679"])
    at.agent.replace(signal.SIGKILL)
    assert at.agent.log("listener_waiting") == []
    assert at.lab.can_reach("host", ("::1", 20000))
    at.client.unpublish("web", ["20000-20599:80-679"])
    assert not any("20000" in name for name in manager.names)


def test_what_nobody_wants_is_closed(at: Installation, manager: ServiceManager) -> None:
    """A stored socket of no mapping is given up at the start, and its port is free."""
    with at.lab.call("host", socket.create_server, ("", 8730)) as stale:
        manager.put("proxy~tcp/0.0.0.0~8730", stale)
    at.agent.replace(signal.SIGKILL)
    assert "proxy~tcp/0.0.0.0~8730" not in manager.names
    at.lab.call("host", socket.create_server, ("", 8730)).close()


def test_what_is_no_socket_is_named(at: Installation, manager: ServiceManager) -> None:
    """A descriptor of something else does not keep the agent from its start."""
    with manager._changed:
        manager.stored.append(("odd", os.open(os.devnull, os.O_RDONLY)))
    at.agent.replace(signal.SIGKILL)
    assert at.agent.log("descriptor_not_taken")[0]["name"] == "odd"
    with manager._changed:
        manager.stored.remove(next(each for each in manager.stored if each[0] == "odd"))


def test_a_manager_without_store_is_sent_nothing(tmp_path: Path) -> None:
    """Where FileDescriptorStoreMax is not set, no socket is sent, and publishing does not wait for anybody."""
    with installed(tmp_path, limit=0) as (at, manager):
        assert manager.names == set()
        at.agent.replace(signal.SIGKILL)
        assert at.lab.can_reach("host", ("::1", 8080))


def test_a_full_store_costs_but_the_rest(tmp_path: Path) -> None:
    """What the manager does not keep is opened again."""
    with installed(tmp_path, limit=3) as (at, manager):
        assert len(manager.stored) == 3
        at.agent.replace(signal.SIGKILL)
        assert at.lab.can_reach("host", ("::1", 8080))
