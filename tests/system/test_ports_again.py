"""Ports of the host that masquerading gives to one connection of a container after the other."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from agents import until
from installation import Installation, installed
from lab import OUTSIDE
from moorage.kernel.linux.ctnetlink import DELETE
from moorage.kernel.linux.nfnetlink import Netlink, generic
from moorage.kernel.linux.nftables import Nftables

pytestmark = pytest.mark.system

PORT, FORCED = 7000, 20000
_RETRANSMITTED = 100
"""Where struct tcp_info of linux/tcp.h has tcpi_total_retrans."""
_TIME_WAIT = "06"
_TICK = 0.002
"""Timestamps count milliseconds."""


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("again")) as made:
        yield made


def force() -> None:
    """Have all connections leave from one port, as those do that are given the same by chance."""
    with closing(Nftables()) as nftables:
        nftables.run(
            "table ip forced {\nchain out {\ntype nat hook postrouting priority 90; policy accept;\n"
            f"tcp dport {PORT} masquerade to :{FORCED}\n}}\n}}\n"
        )


def forget() -> None:
    """Have conntrack forget all, as it does what is begun anew from the same source port."""
    with Netlink() as netlink:
        netlink.ask(DELETE, generic(0))


def is_left() -> bool:
    """Whether who is outside waits at the end of all that came from that port."""
    rows = [row.split() for row in Path("/proc/thread-self/net/tcp").read_text().splitlines()[1:]]
    return {row[3] for row in rows if row[2].endswith(f":{FORCED:04X}")} == {_TIME_WAIT}


def lost(at: Installation, name: str, listener: socket.socket) -> int:
    """How many segments a connection sent again; who is outside ends it first."""
    with at.lab.socket(name, socket.AF_INET, socket.SOCK_STREAM) as made:
        made.settimeout(5)
        made.connect((OUTSIDE, PORT))
        accepted, peer = listener.accept()
        assert peer[1] == FORCED
        accepted.close()
        assert made.recv(1) == b""
        info = made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _RETRANSMITTED + 4)
        return int.from_bytes(info[_RETRANSMITTED:], "little")


def test_a_port_is_given_again_at_once(at: Installation) -> None:
    """Whoever speaks to a server from a port that another connection has just left loses nothing, of any container."""
    at.lab.call("host", force)
    with at.lab.socket("outside", socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((OUTSIDE, PORT))
        listener.listen()
        listener.settimeout(5)
        found = []
        for _ in range(8):
            for name in ("web", "peer", "lone"):
                found.append(lost(at, name, listener))
                until(lambda: at.lab.call("outside", is_left))
                at.lab.call("host", forget)
                left = time.monotonic()
                until(lambda left=left: time.monotonic() - left > _TICK)  # type: ignore[misc]
    assert sum(found) == 0


def test_who_wants_no_timestamps_has_none(at: Installation) -> None:
    """A namespace whose connections have no timestamps stays so when a container of it is attached."""
    path = at.lab.container("silent")
    at.lab.run("silent", ["sysctl", "-qw", "net.ipv4.tcp_timestamps=0"])
    at.client.allocate("silent", netns=path)
    assert at.lab.run("silent", ["sysctl", "-n", "net.ipv4.tcp_timestamps"]).strip() == "0"
    assert at.lab.run("web", ["sysctl", "-n", "net.ipv4.tcp_timestamps"]).strip() == "2"
