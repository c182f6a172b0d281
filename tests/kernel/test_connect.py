"""Sockets that are led to a container as they connect, without an agent."""

from __future__ import annotations

import ctypes
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from cgroups import Cgroup, attached
from echo_server import ask
from firewall_stand import IP, IPV6, NETWORK, Stand, stand
from lab import HOST, Lab
from moorage.kernel.linux.connect.attachment import Attachment
from moorage.kernel.linux.connect.hook import LOST
from moorage.kernel.linux.connect.programs import KINDS
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.protocol import Flow
from moorage.model.elements import network_elements
from moorage.values import ANY, Mapping

pytestmark = pytest.mark.system

GATEWAY, GATEWAY6 = "10.0.42.1", "fd00:42::1"
WEB = Mapping("tcp", ANY, 8080, 80, dual=True)
LOOPBACK = ["127.0.0.1", "127.1.2.3", "::ffff:127.0.0.1", "::1"]


@pytest.fixture
def at(cgroup: Cgroup, lab: Lab) -> Iterator[Stand]:
    """A host whose sockets are led to a container that answers at its port 80."""
    made = stand(lab, "connect")
    lab.echo_server("web", "tcp", 80)
    yield made
    made.firewall.close()


def source(sock: socket.socket) -> str:
    """The address that a connected socket sends from: the gateway's where it was led."""
    return str(sock.getsockname()[0]).removeprefix("::ffff:")


def another(at: Stand, loopback: str = "connect") -> LinuxFirewall:
    """The firewall of an agent that comes after one that was killed."""
    made = at.lab.call("host", LinuxFirewall, loopback=loopback)
    made.install(network_elements(NETWORK) | at.elements(WEB))
    return made


def flow(mapping: Mapping) -> Flow:
    last = mapping.host_port + mapping.count - 1
    return Flow(mapping.proto, mapping.key_ip, mapping.host_port, last, (IP, IPV6))


@pytest.mark.parametrize("ip", LOOPBACK)
def test_a_socket_on_loopback_is_led_to_the_container(at: Stand, ip: str) -> None:
    """It is connected to the container itself, which sees the gateway, and says that it is where it asked to be."""
    at.publish(WEB)
    with at.lab.open("host", (ip, 8080)) as led:
        assert source(led) == (GATEWAY6 if ip == "::1" else GATEWAY)
        assert ask(led)[:3:2] == (source(led), "web")
        assert led.getpeername()[:2] == (ip, 8080)


def test_only_what_is_published_is_led(at: Stand) -> None:
    """Other ports, other protocols and a container's own loopback are as they were."""
    at.publish(WEB)
    for who, to in (("host", ("127.0.0.1", 80)), ("host", ("::1", 80)), ("web", ("127.0.0.1", 8080))):
        with pytest.raises(ConnectionRefusedError):
            at.lab.open(who, to)
    with at.lab.open("host", ("127.0.0.1", 8080), "udp") as datagrams:
        assert source(datagrams) == "127.0.0.1"
    with at.lab.open("host", (IP, 80)) as direct:
        assert direct.getpeername() == (IP, 80)


def test_a_socket_of_another_network_namespace_is_not_led(at: Stand) -> None:
    """The world outside has a loopback of its own, and reaches the port as before."""
    at.publish(WEB)
    with pytest.raises(ConnectionRefusedError):
        at.lab.open("outside", ("127.0.0.1", 8080))
    assert at.lab.connect("outside", (HOST, 8080)).server == "web"


def test_a_socket_with_an_address_of_its_own_keeps_it(at: Stand) -> None:
    """Rules lead it."""
    at.publish(WEB)
    made = at.lab.socket("host")
    made.bind(("127.0.0.1", 0))
    made.connect(("127.0.0.1", 8080))
    assert source(made) == "127.0.0.1"
    assert ask(made)[:3:2] == (GATEWAY, "web")


def test_a_socket_of_another_cgroup_is_not_led(at: Stand, cgroup: Cgroup) -> None:
    """Rules lead it."""
    at.publish(WEB)
    cgroup.leave()
    with at.lab.open("host", ("127.0.0.1", 8080)) as made:
        assert source(made) == "127.0.0.1"
        assert ask(made)[:3:2] == (GATEWAY, "web")


@pytest.mark.parametrize(
    ("mapping", "led", "refused"),
    [
        (Mapping("tcp", "127.0.0.5", 8080, 80), ["127.0.0.5"], ["127.0.0.1", "::1"]),
        (Mapping("tcp", ANY, 8080, 80), ["127.0.0.5", "127.0.0.1", "::ffff:127.0.0.1"], ["::1"]),
        (Mapping("tcp", "::", 8080, 80), ["::1"], ["127.0.0.1"]),
        (Mapping("tcp", HOST, 8080, 80), [], ["127.0.0.1", "::1"]),
        (Mapping("tcp", "127.0.0.1", 8079, 79, 3), ["127.0.0.1"], ["127.0.0.2"]),
    ],
    ids=str,
)
def test_addresses_are_those_of_the_mapping(
    at: Stand, mapping: Mapping, led: list[str], refused: list[str]
) -> None:
    """One address, every one of a family, another than loopback, or a range."""
    at.publish(mapping)
    for ip in led:
        with at.lab.open("host", (ip, 8080)) as made:
            assert source(made) in {GATEWAY, GATEWAY6}
    for ip in refused:
        with pytest.raises(ConnectionRefusedError):
            at.lab.open("host", (ip, 8080))


def test_a_run_that_keeps_its_numbers_is_led(at: Stand) -> None:
    """It is one element of a map of rules, and a port each here."""
    run = Mapping("tcp", ANY, 79, 79, 3, dual=True)
    at.publish(run)
    assert at.lab.connect("host", ("127.0.0.1", 80)).peer == GATEWAY
    with at.lab.open("host", ("127.0.0.1", 80)) as made:
        assert source(made) == GATEWAY
        at.unpublish(run)
        with pytest.raises(ConnectionAbortedError):
            ask(made)


@pytest.mark.parametrize("ip", LOOPBACK)
def test_unpublishing_ends_what_was_led(at: Stand, ip: str) -> None:
    """The connection is reset on both sides, others through another port and none go on, and no new one comes."""
    other = Mapping("tcp", ANY, 8081, 80, dual=True)
    at.publish(WEB)
    at.publish(other)
    led, kept, direct = (at.lab.open("host", to) for to in ((ip, 8080), (ip, 8081), (IP, 80)))
    assert [ask(each).server for each in (led, kept, direct)] == ["web"] * 3
    at.unpublish(WEB)
    with pytest.raises(ConnectionAbortedError):
        ask(led)
    with pytest.raises(ConnectionRefusedError):
        at.lab.open("host", (ip, 8080))
    assert [ask(each).server for each in (kept, direct)] == ["web"] * 2


def test_who_connects_anew_is_where_it_is_now(at: Stand) -> None:
    """A socket that was led once, and then connects to the container itself, says so."""
    at.publish(WEB)
    made = at.lab.open("host", ("127.0.0.1", 8080))
    assert made.getpeername() == ("127.0.0.1", 8080)
    at.lab.call("host", disconnect, made)
    made.connect((HOST, 8080))
    assert made.getpeername() == (HOST, 8080)
    assert ask(made).server == "web"


def test_connections_outlive_the_agent_and_end_by_the_next(at: Stand) -> None:
    """Killed, it leaves everything as it is; who comes next knows what was led, and ends it when it is unpublished."""
    at.publish(WEB)
    led = at.lab.open("host", ("127.0.0.1", 8080))
    assert ask(led).server == "web"
    at.firewall.close()
    assert at.lab.connect("host", ("127.0.0.1", 8080)).server == "web"
    at.firewall = another(at)
    assert ask(led).server == "web"
    assert led.getpeername() == ("127.0.0.1", 8080)
    with at.lab.open("host", ("127.0.0.1", 8080)) as later:
        assert source(later) == GATEWAY
    at.unpublish(WEB)
    with pytest.raises(ConnectionAbortedError):
        ask(led)


def test_what_a_killed_agent_did_not_end_is_a_stray(at: Stand) -> None:
    """A socket that leads to a mapping that is no more ends, one of another does not."""
    other = Mapping("tcp", ANY, 8081, 80, dual=True)
    at.publish(WEB)
    at.publish(other)
    stray, kept = (at.lab.open("host", ("127.0.0.1", port)) for port in (8080, 8081))
    at.firewall.end_strays([flow(other)], [NETWORK.subnet])
    with pytest.raises(ConnectionAbortedError):
        ask(stray)
    assert ask(kept).server == "web"


@pytest.mark.parametrize("loopback", ["kernel", "proxy"])
def test_an_agent_that_leads_nothing_takes_it_away(at: Stand, loopback: str) -> None:
    """Programs of a former one are detached, and what they led ends, as nobody would end it later."""
    at.publish(WEB)
    led = at.lab.open("host", ("127.0.0.1", 8080))
    at.firewall.close()
    at.firewall = another(at, loopback)
    assert attached() == []
    with pytest.raises(ConnectionAbortedError):
        ask(led)


def test_removing_takes_it_away(at: Stand) -> None:
    """Nothing of it is left in the cgroup."""
    at.publish(WEB)
    assert sorted(attached()) == sorted(KINDS)
    at.firewall.remove()
    assert attached() == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_others_detach_is_attached_again(at: Stand, kind: int) -> None:
    """Meanwhile rules lead; what was led before is known still."""
    at.publish(WEB)
    led = at.lab.open("host", ("127.0.0.1", 8080))
    with ExitStack() as until, closing(at.lab.call("host", Attachment, KINDS)) as attachment:
        for each in attachment.running(until):
            if each.kind == kind:
                attachment.detach(each)
    assert at.lab.connect("host", ("127.0.0.1", 8080)).server == "web"
    assert at.lab.call("host", at.firewall.changed)
    assert at.firewall.install(network_elements(NETWORK) | at.elements(WEB)) == [LOST]
    assert not at.lab.call("host", at.firewall.changed)
    assert sorted(attached()) == sorted(KINDS)
    assert led.getpeername() == ("127.0.0.1", 8080)
    with at.lab.open("host", ("127.0.0.1", 8080)) as later:
        assert source(later) == GATEWAY


def test_two_network_namespaces_do_not_meet(at: Stand) -> None:
    """Each has its programs in the same cgroup, and takes away no other's."""
    at.publish(WEB)
    other = at.lab.call("outside", LinuxFirewall, loopback="connect")
    other.install(())
    assert sorted(attached()) == sorted(KINDS * 2)
    with at.lab.open("host", ("127.0.0.1", 8080)) as led:
        assert source(led) == GATEWAY
    other.remove()
    other.close()
    assert sorted(attached()) == sorted(KINDS)
    assert not at.lab.call("host", at.firewall.changed)


def test_without_the_right_it_is_denied(cgroup: Cgroup) -> None:
    """Who may not attach programs is told what to do instead."""
    code = "from moorage.kernel.linux.connect.hook import ConnectHook; ConnectHook()"
    argv = ["unshare", "-Urn", sys.executable, "-c", code]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert "denied: " in done.stderr
    assert 'say loopback = "kernel"' in done.stderr


def test_without_a_cgroup_it_is_unsupported(cgroup: Cgroup) -> None:
    """A system that has no cgroup2 mounted says so."""
    code = "from moorage.kernel.linux.connect.hook import ConnectHook; ConnectHook()"
    script = f"umount -at cgroup2; exec {sys.executable} -c '{code}'"
    done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert "unsupported: " in done.stderr
    assert "cgroup2" in done.stderr


def disconnect(sock: socket.socket) -> None:
    """connect(2) to AF_UNSPEC, which the socket module does not do."""
    assert ctypes.CDLL(None).connect(sock.fileno(), bytes(16), 16) == 0
