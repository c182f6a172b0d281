"""From which ports of the host containers speak to others: none that is published, listened at or reserved."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

import packets
from echo_server import ask
from firewall_stand import IP, IPV6, NETWORK, Stand, stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux import reserved
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.masquerading import shadowed
from moorage.model import spread
from moorage.model.elements import network_elements
from moorage.values import ANY, Mapping
from packets import ACK, Ends

pytestmark = pytest.mark.system

KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}
FAMILIES = [(HOST, OUTSIDE), (HOST6, OUTSIDE6)]
PROTOCOLS = ["tcp", "udp"]
AUTOMATIC = range(49153, 65536)


def sending(at: Stand, name: str, port: int, to: tuple[str, int], proto: str = "udp") -> socket.socket:
    """A socket there, bound to a port and connected."""
    made = at.lab.socket(name, socket.AF_INET6 if ":" in to[0] else socket.AF_INET, KINDS[proto])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("", port))
    made.connect(to)
    return made


def seen_from(at: Stand, name: str, port: int, to: tuple[str, int], proto: str = "udp") -> int:
    """The port as which the echo server at `to` sees one of a container's."""
    with sending(at, name, port, to, proto) as made:
        return ask(made).peer_port


def blocks_of(at: Stand) -> set[int]:
    """The blocks that masquerading takes."""
    return {int(str(each.value[0]).removeprefix("block")) for each in at.firewall._spread if each.value}


def renew(at: Stand, published: frozenset[int] = frozenset(), automatic: range = AUTOMATIC) -> None:
    at.lab.call("host", at.firewall.masquerade, published, frozenset(), automatic)
    at.lab.call("host", at.firewall.install, network_elements(NETWORK))


@pytest.fixture
def at(lab: Lab) -> Iterator[Stand]:
    made = stand(lab)
    for proto in PROTOCOLS:
        lab.echo_server("outside", proto, 7)
    yield made
    made.firewall.close()


@pytest.mark.parametrize("proto", PROTOCOLS)
@pytest.mark.parametrize(("host", "outside"), FAMILIES)
def test_a_source_port_is_nobodys(at: Stand, host: str, outside: str, proto: str) -> None:
    """Whatever port a container sends from, those outside see one of a block that is not asked for."""
    for port in (53, 1500, 5000, 8080, 30000, 32768, 49153, 60000, 65535):
        with sending(at, "web", port, (outside, 7), proto) as made:
            seen = ask(made)
        block = spread.of_port(seen.peer_port)
        assert block in blocks_of(at), port
        assert block != spread.of_port(port), port
        assert seen.peer == host


@pytest.mark.parametrize("proto", PROTOCOLS)
@pytest.mark.parametrize(("host", "outside"), FAMILIES)
def test_a_published_port_is_not_shadowed(at: Stand, host: str, outside: str, proto: str) -> None:
    """A stranger to whom a container has sent from the number of a published port reaches that port."""
    peer = stranger(at, outside, proto)
    at.lab.run("web", ["true"])
    with sent(at, 8080, (outside, 4000), proto):
        at.lab.echo_server("web", proto, 80)
        at.publish(Mapping(proto, ANY, 8080, 80, dual=True))
        assert answer(peer, (host, 8080)) == "web"


@pytest.mark.parametrize("proto", PROTOCOLS)
@pytest.mark.parametrize(("host", "outside"), FAMILIES)
def test_a_listener_of_the_host_is_not_shadowed(at: Stand, host: str, outside: str, proto: str) -> None:
    """A stranger to whom a container has sent from the number of a program's port reaches that program."""
    peer = stranger(at, outside, proto)
    at.lab.echo_server("host", proto, 5300)
    with sent(at, 5300, (outside, 4000), proto):
        assert answer(peer, (host, 5300)) == "host"


def stranger(at: Stand, outside: str, proto: str) -> socket.socket:
    """A socket outside at port 4000 that is not connected."""
    family = socket.AF_INET6 if ":" in outside else socket.AF_INET
    made = at.lab.socket("outside", family, KINDS[proto])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((outside, 4000))
    made.settimeout(2)
    return made


@contextmanager
def sent(at: Stand, port: int, to: tuple[str, int], proto: str) -> Iterator[None]:
    """The time in which a container has sent from `port` to a stranger: TCP's first segment, or a datagram."""
    source = IPV6 if ":" in to[0] else IP
    ends = Ends(source, port, *to)
    packet = packets.tcp(ends, packets.SYN) if proto == "tcp" else packets.udp(ends, b"hello")
    packets.send(at.lab, "web", packet)
    yield


def answer(peer: socket.socket, to: tuple[str, int]) -> str:
    peer.connect(to)
    if peer.type == socket.SOCK_DGRAM:
        peer.settimeout(0.2)
        try:
            while True:
                peer.recv(100)
        except TimeoutError:
            peer.settimeout(2)
    return ask(peer).server


def test_one_source_is_one_port_to_everybody(at: Stand) -> None:
    """All that a socket of a container speaks to see the same port, as those need who look for a way in to it."""
    for port in (5000, 20000, 40000):
        made = at.lab.socket("web", socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("", port))
        seen = set()
        for other in range(7001, 7011):
            server = at.lab.echo_server("outside", "udp", other)
            made.connect((OUTSIDE, other))
            seen.add(ask(made).peer_port)
            server.close()
        assert len(seen) == 1, seen


@pytest.mark.parametrize("port", [5000, 20000, 40000])
def test_containers_that_connect_at_once_lose_nothing(at: Stand, port: int) -> None:
    """Those that speak to one place from one port in one moment are all answered their first datagram."""
    names = [f"c{n}" for n in range(24)]
    for n, name in enumerate(names, 10):
        join(at, name, f"10.0.42.{n}")
    barrier = threading.Barrier(len(names))
    lost = []

    def asked(name: str) -> None:
        with at.lab.call(name, socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as made:
            made.bind(("", port))
            made.settimeout(1)
            barrier.wait()
            try:
                made.sendto(b"hello\n", (OUTSIDE, 7))
                made.recv(100)
            except TimeoutError:
                lost.append(name)

    for _ in range(20):
        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(asked, names))
        at.lab.run("host", ["true"])
        at.lab.call("host", forget_all)
    assert lost == []


def forget_all() -> None:
    from moorage.kernel.linux.ctnetlink import DELETE
    from moorage.kernel.linux.nfnetlink import Netlink, generic

    with Netlink() as netlink:
        netlink.ask(DELETE, generic(0))


def join(at: Stand, name: str, ip: str) -> None:
    """One more container of the network."""
    namespace = at.lab.container(name).rpartition("/")[2]
    at.lab.run(
        "host",
        [
            *("sh", "-ec"),
            f"ip link add {name} type veth peer name eth0 netns {namespace}\n"
            f"ip link set {name} master moorage0 up\nbridge link set dev {name} hairpin on",
        ],
    )
    at.lab.run(
        name,
        [
            "sh",
            "-ec",
            f"ip link set eth0 up\nip address add {ip}/24 dev eth0\nip route add default via 10.0.42.1",
        ],
    )


def test_what_is_published_in_a_block_takes_it_away(at: Stand) -> None:
    """Masquerading leaves the block of a port before it is published; whoever had that very port loses it, no other."""
    block = max(blocks_of(at))
    with ExitStack() as opened:
        flows = [opened.enter_context(sending(at, "web", 33000 + 128 * n, (OUTSIDE, 7))) for n in range(200)]
        ports = [ask(flow).peer_port for flow in flows]
        mine = next(port for port in ports if spread.of_port(port) == block)
        at.lab.call("host", at.firewall.keep_clear, [("udp", mine)], [])
        assert block not in blocks_of(at)
        again = [ask(flow).peer_port for flow in flows]
        moved = [before for before, after in zip(ports, again, strict=True) if before != after]
        assert moved == [mine]
        at.lab.call("host", at.firewall.keep_clear, [], [mine])
        assert block in blocks_of(at)


def test_a_port_of_another_protocol_is_not_ended(at: Stand) -> None:
    """Who has the number of a port that is published for another protocol keeps it, until it is for his own."""
    with sending(at, "web", 33000, (OUTSIDE, 7)) as flow:
        port = ask(flow).peer_port
        at.lab.call("host", at.firewall.keep_clear, [("tcp", port)], [])
        assert ask(flow).peer_port == port
        at.lab.call("host", at.firewall.keep_clear, [("udp", port)], [])
        assert ask(flow).peer_port != port


def test_what_a_program_listens_at_takes_a_block_away(at: Stand) -> None:
    """A program that begins to listen in a block has it, and the port, once that is seen; when it ends it is free."""
    block = max(blocks_of(at))
    with ExitStack() as opened:
        flows = [opened.enter_context(sending(at, "web", 33000 + 128 * n, (OUTSIDE, 7))) for n in range(200)]
        ports = [ask(flow).peer_port for flow in flows]
        mine = next(port for port in ports if spread.of_port(port) == block)
        for proto, moving in (("tcp", []), ("udp", [mine])):
            server = at.lab.echo_server("host", proto, mine)
            assert at.lab.call("host", at.firewall._masquerading.differ)
            at.lab.call("host", at.firewall.follow)
            assert block not in blocks_of(at)
            again = [ask(flow).peer_port for flow in flows]
            moved = [before for before, after in zip(ports, again, strict=True) if before != after]
            assert moved == moving
            server.close()
            at.lab.call("host", at.firewall.follow)
            assert block in blocks_of(at)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_who_listens_to_the_host_alone_takes_no_block(at: Stand, address: str) -> None:
    """Nothing from outside comes there, so no container is in the way."""
    block = max(blocks_of(at))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for kind in KINDS.values():
        with at.lab.socket("host", family, kind) as made:
            made.bind((address, spread.BLOCKS[block][5]))
            if kind == socket.SOCK_STREAM:
                made.listen()
            assert not at.lab.call("host", at.firewall._masquerading.differ)


def test_whose_conversations_end_for_programs_that_come() -> None:
    """Datagrams at the ports of a few; nobody's where somebody comes to many ports at once, and no TCP connections."""
    few = frozenset({(17, port) for port in range(2000, 2064)})
    assert shadowed(few | {(6, 2000)}) == few
    assert shadowed(few | {(17, 5000)}) == frozenset()
    assert shadowed(frozenset({(6, 2000)})) == frozenset()


def test_reserved_and_automatic_ports_are_left_alone(at: Stand) -> None:
    """Blocks with ports that somebody reserved are his; those of automatic ports are taken only for want of others."""
    at.lab.call("host", reserved.write, [20000], [])
    renew(at, automatic=range(10240, 20480))
    assert blocks_of(at) == set(range(16)) - {9, *range(5, 10)}
    renew(at, automatic=range(1024, 65536))
    assert blocks_of(at) == set(range(16)) - {9}
    at.lab.call("host", reserved.write, [], [20000])


def test_where_programs_are_given_all_ports_some_are_reserved(at: Stand) -> None:
    """On a host whose programs are given any port, masquerading has blocks once they are reserved, and not before."""
    at.lab.run("host", ["sysctl", "-qw", "net.ipv4.ip_local_port_range=1024 65535"])
    renew(at)
    assert blocks_of(at) == set()
    assert {seen_from(at, "web", port, (OUTSIDE, 7)) for port in range(40000, 40004)}.isdisjoint(
        range(40000, 40004)
    )
    wished = at.lab.call("host", at.firewall.set_aside)
    assert spread.LEAST * spread.SIZE <= len(wished) <= (65535 - 1024) // 4
    at.lab.call("host", reserved.write, wished, [])
    at.lab.call("host", at.firewall.masquerade, (), wished, AUTOMATIC)
    at.lab.call("host", at.firewall.follow)
    assert seen_from(at, "web", 41000, (OUTSIDE, 7)) in wished
    at.lab.call("host", reserved.write, [], wished)


def test_the_next_agent_goes_on_with_the_same_blocks(at: Stand) -> None:
    """What leads where stays when an agent starts, so that sources keep their ports; damage to it is put right."""
    before = at.firewall._spread
    at.lab.call("host", at.firewall.keep_clear, [("tcp", 30000)], [])
    moved = at.firewall._spread
    assert before != moved
    successor = at.lab.call("host", LinuxFirewall, loopback="kernel")
    successor.masquerade([30000], frozenset(), AUTOMATIC)
    assert at.lab.call("host", successor.install, network_elements(NETWORK)) == []
    assert successor._spread == moved
    successor.close()


@pytest.mark.parametrize(("host", "outside"), FAMILIES)
def test_a_segment_beyond_the_window_ends_no_connection_out(at: Stand, host: str, outside: str) -> None:
    """What a server sends that fits no window is not answered by the host: the container's connection goes on."""
    with sending(at, "web", 40000, (outside, 7), "tcp") as out:
        assert ask(out).peer == host
        port = ask(out).peer_port
        sent_, awaited = packets.sequence(out)
        back = Ends(outside, 7, host, port)
        packets.send(at.lab, "outside", packets.tcp(back, ACK, awaited + (1 << 30), sent_))
        assert ask(out).peer == host
