"""An agent with few descriptors or none, not even of its own, refuses what needs one and has changed nothing."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from agents import AgentProcess, until
from agreement import assert_agreement_on_host
from chaos.processes import descriptors
from chaos.starving import FEW, MOST
from lab import HOST, Lab
from moorage import Client, Fault, Refused
from moorage.descriptors import LEAST
from moorage.kernel.linux.nftables import Nftables
from tracked import entries

pytestmark = pytest.mark.system

FLOATING = "10.77.0.50"
LINK_LOCAL = "fe80::50"
LAUNCHER = Path(__file__).with_name("starving.py")


class Starving(AgentProcess):
    """An agent that starves for a while."""

    @contextmanager
    def starved(self, left: int = 0) -> Iterator[None]:
        """It has so many descriptors left in the block."""
        self.client.hello()  # which keeps its connection
        os.kill(self.pid, signal.SIGRTMIN + left)
        until(lambda: descriptors(self.pid) > MOST - 100)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGRTMIN + left)
            until(lambda: descriptors(self.pid) <= MOST - 100)

    def _argv(self) -> list[str]:
        return [sys.executable, str(LAUNCHER), "agent", "--config", str(self._config)]


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starving]:
    """See `run`."""
    with run(tmp_path_factory.mktemp("starving")) as made:
        yield made


@pytest.fixture(scope="module")
def bold(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starving]:
    """One that begins an operation without looking whether there are descriptors to end it with."""
    with run(tmp_path_factory.mktemp("bold"), {"MOORAGE_TEST_LEAST": "0"}) as made:
        yield made


@contextmanager
def run(directory: Path, environment: dict[str, str] | None = None) -> Iterator[Starving]:
    """One with a container that is attached and publishes ports, one that is not, and a network without any."""
    config = {"environment": environment, "subnet": "10.0.42.1/24"}
    with Lab() as lab, Starving(lab, directory, **config) as made:
        made.client.create_network("spare", subnet="10.0.43.0/24")
        made.client.allocate(
            "web", netns=lab.container("web"), ports=["8080:80", "8080:80/udp", "9000-9003:80-83"]
        )
        made.client.allocate("loose", ports=["8081:80"])
        lab.container("db")
        lab.run("host", ["ip", "address", "add", f"{LINK_LOCAL}/64", "dev", "eth0", "nodad"])
        lab.echo_server("web", "tcp", 80)
        yield made


OPERATIONS: dict[str, Callable[[Client, Lab], Any]] = {
    "allocate": lambda client, _: client.allocate("new"),
    "allocate-attached": lambda client, lab: client.allocate("new", netns=lab.path("db")),
    "allocate-published": lambda client, _: client.allocate("new", ports=["8090:80"]),
    "attach": lambda client, lab: client.attach("loose", netns=lab.path("db")),
    "attach-by-name": lambda client, lab: client.attach("loose", netns=Path(lab.path("db")).name),
    "attach-by-pid": lambda client, _: client.attach("loose", netns=f"pid:{os.getpid()}"),
    "detach": lambda client, _: client.detach("web"),
    "publish-tcp": lambda client, _: client.publish("loose", ["8091:80"]),
    "publish-udp": lambda client, _: client.publish("loose", ["8091:80/udp"]),
    "publish-automatic": lambda client, _: client.publish("loose", ["80", "80/udp"]),
    "publish-run": lambda client, _: client.publish("loose", ["8100-8103:8100-8103"]),
    "publish-link-local": lambda client, _: client.publish("loose", [f"[{LINK_LOCAL}]:8092:80"]),
    "unpublish": lambda client, _: client.unpublish("web", ["8080:80"]),
    "release": lambda client, _: client.release("web"),
    "release-loose": lambda client, _: client.release("loose"),
    "create_network": lambda client, _: client.create_network("more", subnet="10.0.44.0/24"),
    "create_network-free": lambda client, _: client.create_network("more"),
    "remove_network": lambda client, _: client.remove_network("spare"),
    "list": lambda client, _: client.list(),
    "status": lambda client, _: client.status(),
    "tree": lambda client, _: client.tree(),
}


def state(agent: Starving) -> tuple[Any, ...]:
    return agent.client.list(), agent.client.networks(), descriptors(agent.pid)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation(agent: Starving, name: str) -> None:
    """Without a descriptor, or with too few, it is refused as `limit` with nothing changed, and with more it is done.

    No actor has died of it, and all agree afterwards.
    """
    restarts = agent.client.status().restarts
    operate(agent, name, 0)
    restore(agent)
    operate(agent, name, LEAST - 1)
    restore(agent)
    assert operate(agent, name, FEW) is None
    assert agent.client.status().restarts == restarts
    restore(agent)


@pytest.mark.parametrize("name", OPERATIONS)
def test_one_that_is_begun(bold: Starving, name: str) -> None:
    """Whichever descriptor is wanting, no actor dies of it, and all agree; what is recorded already is said to be."""
    restarts = bold.client.status().restarts
    for left in range(FEW + 1):
        failed = operate(bold, name, left)
        if failed is None:
            break
        assert isinstance(failed, Refused) or str(failed).startswith("it is recorded"), failed
        restore(bold)
    else:
        pytest.fail(f"it failed with {FEW} left")
    assert bold.client.status().restarts == restarts
    restore(bold)


def operate(agent: Starving, name: str, left: int) -> Refused | Fault | None:
    """What it fails with when there are so many left."""
    before, failed = state(agent), None
    with agent.starved(left):
        try:
            OPERATIONS[name](agent.client, agent.lab)
        except (Refused, Fault) as error:
            failed = error
    if isinstance(failed, Refused):
        assert failed.code == "limit", failed
        assert state(agent)[:2] == before[:2]
        until(lambda: state(agent)[2] <= before[2])
    assert_agreement_on_host(agent, agent.lab)
    return failed


def restore(agent: Starving) -> None:
    """Make it as it was, by the same operations."""
    client, lab = agent.client, agent.lab
    have = {each.id: each for each in client.list()}
    if "new" in have:
        client.release("new")
    for each in ("web", "loose"):
        if each not in have:
            client.allocate(each)
    client.unpublish("loose")
    client.publish("loose", ["8081:80"])
    if client.inspect("loose").netns:
        client.detach("loose")
    if not client.inspect("web").netns:
        client.attach("web", netns=lab.path("web"))
    client.publish("web", ["8080:80", "8080:80/udp", "9000-9003:80-83"])
    names = {each.name for each in client.networks()}
    if "more" in names:
        client.remove_network("more")
    if "spare" not in names:
        client.create_network("spare", subnet="10.0.43.0/24")


def test_repairs_wait_for_some(agent: Starving) -> None:
    """What others change meanwhile is put right as soon as there are some, whatever was tried in between."""
    began = agent.client.status().started
    with agent.starved():
        nftables = agent.lab.call("host", Nftables)
        nftables.run("flush chain inet moorage publish")
        nftables.close()
        agent.lab.run("host", ["ip", "link", "set", "moorage0", "down"])
        agent.client.hello()
    until(lambda: agent.lab.can_reach("outside", (HOST, 8080), timeout=0.2))
    assert agent.client.status().started == began
    until(lambda: any("chain publish" in each["what"] for each in agent.log("repaired")))
    assert_agreement_on_host(agent, agent.lab)


def test_no_thread_dies_of_it(agent: Starving) -> None:
    """What is looked at every second is looked at later, the log says so once, and an address that left is followed."""
    before, said = agent.client.status(), len(agent.log("kernel_not_followed"))
    agent.lab.run("host", ["ip", "address", "add", f"{FLOATING}/24", "dev", "eth0"])
    agent.client.publish("web", [f"{FLOATING}:8700:80"])
    until(lambda: agent.lab.can_reach("outside", (FLOATING, 8700), timeout=0.2))
    with agent.lab.open("outside", (FLOATING, 8700)):
        assert is_led(agent.lab, FLOATING)
        with agent.starved():
            agent.lab.run("host", ["ip", "address", "del", f"{FLOATING}/24", "dev", "eth0"])
            until(lambda: len(agent.log("kernel_not_followed")) > said)
        until(lambda: not is_led(agent.lab, FLOATING))
    assert len(agent.log("kernel_not_followed")) == said + 1
    after = agent.client.status()
    assert (after.started, after.restarts) == (before.started, before.restarts)
    agent.client.unpublish("web", [f"{FLOATING}:8700:80"])


def is_led(lab: Lab, to: str) -> bool:
    """Whether a connection to that address is led anywhere."""
    return any(each.target == to and each.translated for each in lab.call("host", entries))
