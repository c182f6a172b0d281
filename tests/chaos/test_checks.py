"""The check of the kernel itself: it sees what is wrong, and mends nothing."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from agents import until
from chaos.flows import check_flows
from chaos.footprint import SESSIONS, THREADS, Footprint
from chaos.kept import KeptKernel
from chaos.linux_machine import flush
from chaos.victim import Victim, check_kernel
from lab import HOST, Lab
from moorage.kernel.linux import reserved
from moorage.kernel.linux.nftables import Nftables
from moorage.values import Network

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Victim]:
    """An agent with a container, a mapping and a reserved port, which sleeps during the tests."""
    with Lab() as lab, Victim(tmp_path_factory.mktemp("checks"), lab) as made:
        made.client.allocate("web", netns=lab.container("web"), ports=["8080:80", "53/udp"])
        yield made


def run(commands: str) -> None:
    nftables = Nftables()
    try:
        nftables.run(commands)
    finally:
        nftables.close()


def remove_element() -> None:
    run("flush map inet moorage pub4_any")


def add_element() -> None:
    run("add element inet moorage pub4_any { tcp . 9999 : 10.0.42.2 . 80 }")


def remove_rule() -> None:
    run("flush chain inet moorage guard")


def free_ports() -> None:
    reserved.write((), reserved.read())


FAULTS: list[Callable[[], None]] = [flush, remove_element, add_element, remove_rule, free_ports]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_wrong_rule_is_seen(victim: Victim, fault: Callable[[], None]) -> None:
    """While the agent sleeps, what is wrong with rules and reserved ports is seen, and seen again."""
    journal = victim.recorded()
    victim.rules = None
    check_kernel(victim, journal)
    with victim.asleep():
        victim.lab.call("host", fault)
        for _ in range(2):
            with pytest.raises(AssertionError):
                check_kernel(victim, journal)
    victim.replace(signal.SIGKILL)
    check_kernel(victim, journal)


def test_a_lost_link_is_seen(victim: Victim) -> None:
    """While the agent sleeps, a veth that is gone is seen."""
    journal = victim.recorded()
    check_kernel(victim, journal)
    with victim.asleep():
        (veth,) = [name for name in _names(victim) if name.startswith("mg")]
        victim.lab.run("host", ["ip", "link", "delete", veth])
        with pytest.raises(AssertionError, match="veths"):
            check_kernel(victim, journal)
    victim.replace(signal.SIGKILL)
    check_kernel(victim, journal)


def test_a_connection_that_lives_on_is_seen(victim: Victim) -> None:
    """What conntrack knows of a mapping that is not recorded any more is seen."""
    journal = victim.recorded()
    server = victim.lab.echo_server("web", "udp", 53)
    (port,) = [mapping.host_port for mapping in journal.interfaces[0].ports if mapping.proto == "udp"]
    assert victim.lab.connect("outside", (HOST, port), "udp").server == "web"
    server.close()
    check_flows(victim, journal)
    with pytest.raises(AssertionError, match="connections"):
        check_flows(victim, replace(journal, interfaces=[]))


def test_a_link_left_in_a_container_is_seen(victim: Victim) -> None:
    """A link in a container that is attached nowhere is seen."""
    victim.lab.container("bare")
    journal = victim.recorded()
    check_kernel(victim, journal)
    victim.lab.run("bare", ["ip", "link", "add", "left", "type", "veth", "peer", "name", "over"])
    with pytest.raises(AssertionError, match="links in containers"):
        check_kernel(victim, journal)
    victim.lab.remove("bare")


def test_a_descriptor_left_open_is_seen(victim: Victim) -> None:
    """More sockets than clients and listeners account for are seen, and so are threads."""
    fresh = Footprint.of(victim)
    fresh.check(victim, ())
    with ExitStack() as stack:
        for _ in range(SESSIONS + 1):
            stack.enter_context(socket.socket(socket.AF_UNIX)).connect(str(victim.socket))
        until(lambda: victim.descriptors()["socket:"] > fresh.descriptors["socket:"] + SESSIONS)
        with pytest.raises(AssertionError, match="socket:"):
            fresh.check(victim, ())
    with pytest.raises(AssertionError, match="threads"):
        replace(Footprint.of(victim), threads=fresh.threads - THREADS - 1).check(victim, ())


def _names(victim: Victim) -> list[str]:
    listed = victim.lab.run("host", ["ip", "-br", "link"])
    return [line.partition("@")[0].split()[0] for line in listed.splitlines()]


def test_a_journal_is_read_beside_its_agent(victim: Victim) -> None:
    """What a journal says can be read while its agent runs, and is what it says."""
    (web,) = victim.recorded().interfaces
    assert [mapping.container_port for mapping in web.ports] == [80, 53]
    assert victim.client.inspect("web").ip == web.ip


def test_a_kernel_in_a_file_stays_what_it_was(tmp_path: Path) -> None:
    """A kernel in a file is what it was, however often it is opened without a change."""
    path = tmp_path / "kernel"
    network = Network("default", "moorage0", "172.16.42.0/24", "172.16.42.1")
    KeptKernel(path).bridges["moorage0"] = network
    for _ in range(3):
        assert KeptKernel(path).bridges == {"moorage0": network}
