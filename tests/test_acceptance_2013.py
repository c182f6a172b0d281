"""The acceptance of 2013: its network tests by their names, and the first that were added after it.

Its six proxy tests, TestTCP4Proxy to TestUDPWriteError, are in proxy/test_2013.py; the faults that no test of
it saw are in test_faults_2013.py.
"""

from __future__ import annotations

import ipaddress
import subprocess
import sys
from pathlib import Path

import pytest

from agents import AgentProcess
from lab import HOST, Lab
from moorage import Agent, Config
from moorage.kernel.protocol import Occupied
from moorage.model.address_pool import AddressPool
from moorage.model.port_pool import PortPool
from moorage.model.port_spec import PortSpec, parse_port_spec
from moorage.model.subnets import CANDIDATES, check_free, network_range, network_size, networks_overlap
from refusals import code_of


class TestIptables:
    @pytest.mark.system
    def test_no_program_is_needed(self, tmp_path: Path) -> None:
        """The firewall is written, read and works for an agent whose PATH is empty."""
        with Lab() as lab, AgentProcess(lab, tmp_path, environment={"PATH": ""}) as agent:
            agent.client.allocate("web", netns=lab.container("web"), ports=["8080:80"])
            lab.echo_server("web", "tcp", 80)
            assert lab.can_reach("outside", (HOST, 8080), timeout=5)

    def test_a_missing_library_is_an_error(self) -> None:
        """Where what it needs instead is missing, the error names it."""
        code = "import ctypes; ctypes.CDLL = lambda name: exec('raise OSError(name)')\n"
        code += "from moorage.kernel.linux.nftables import Nftables; Nftables()"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "unsupported: nftables rules need libnftables.so.1" in done.stderr


class TestParseNat:
    @pytest.mark.parametrize(
        ("spec", "frontend", "backend", "proto"),
        [
            ("4500", 0, 4500, "tcp"),
            (":4501", 4501, 4501, "tcp"),
            ("4502:4503", 4502, 4503, "tcp"),
            ("4502:4503/tcp", 4502, 4503, "tcp"),
            ("4502:4503/udp", 4502, 4503, "udp"),
            (":4503/udp", 4503, 4503, "udp"),
            (":4503/tcp", 4503, 4503, "tcp"),
            ("4503/tcp", 0, 4503, "tcp"),
            ("4503/udp", 0, 4503, "udp"),
        ],
    )
    def test_read(self, spec: str, frontend: int, backend: int, proto: str) -> None:
        """Nine specs have the frontend, backend and protocol they had."""
        assert parse_port_spec(spec) == PortSpec(proto, None, frontend, backend)

    @pytest.mark.parametrize("spec", ["4503/tcpgarbage", "4503/tcp/udp", "4503/"])
    def test_refused(self, spec: str) -> None:
        """Three are errors."""
        assert code_of(parse_port_spec, spec) == "invalid"


class TestPortAllocation:
    def test_sequence(self) -> None:
        """A fixed port and automatic ones are given once, and again after a release."""
        ports = PortPool("tcp")
        assert ports.acquire("a", "", 80) == 80
        port = ports.acquire("a", "", 0)
        assert port > 0
        assert code_of(ports.acquire, "b", "", port) == "port_in_use"
        assert ports.acquire("a", "", 0) != port
        assert code_of(ports.acquire, "b", "", 80) == "port_in_use"
        assert ports.release("a", "", 80)
        assert ports.acquire("b", "", 80) == 80


class TestNetworkRange:
    @pytest.mark.parametrize(
        ("network", "first", "last", "size"),
        [
            ("192.168.0.1/24", "192.168.0.0", "192.168.0.255", 256),
            ("10.0.0.1/8", "10.0.0.0", "10.255.255.255", 16777216),
            ("10.1.2.3/8", "10.0.0.0", "10.255.255.255", 16777216),
            ("10.1.2.3/32", "10.1.2.3", "10.1.2.3", 1),
            ("10.1.2.3/31", "10.1.2.2", "10.1.2.3", 2),
            ("10.1.2.3/26", "10.1.2.0", "10.1.2.63", 64),
        ],
    )
    def test_first_last_and_size(self, network: str, first: str, last: str, size: int) -> None:
        """Six networks begin and end where they did."""
        assert (*network_range(network), network_size(network)) == (first, last, size)


class TestConversion:
    def test_there_and_back(self) -> None:
        """127.0.0.1 is a number, and the number is 127.0.0.1."""
        first, last = network_range("127.0.0.1/32")
        assert int(ipaddress.ip_address(first)) == 2130706433
        assert str(ipaddress.ip_address(2130706433)) == first == last


class TestIPAllocator:
    def test_sequence(self) -> None:
        """Five addresses, an error, and the released ones in the order that begins with the first released."""
        pool = AddressPool("127.0.0.0/29", "127.0.0.1")
        assert [pool.acquire("a", 0) for _ in range(5)] == [f"127.0.0.{last}" for last in (2, 3, 4, 5, 6)]
        assert code_of(pool.acquire, "a", 0) == "addresses_exhausted"
        for last in (5, 4, 6):
            pool.release("a", f"127.0.0.{last}", 0)
        assert [pool.acquire("a", 0) for _ in range(3)] == [f"127.0.0.{last}" for last in (5, 6, 4)]
        assert code_of(pool.acquire, "a", 0) == "addresses_exhausted"


class TestNetworkOverlaps:
    @pytest.mark.parametrize(
        ("a", "b", "overlap"),
        [
            ("172.16.0.1/24", "172.16.0.1/25", True),
            ("172.16.0.1/24", "172.16.0.128/25", True),
            ("172.16.0.1/24", "172.16.0.64/25", True),
            ("172.16.0.1/24", "172.16.0.1/23", True),
            ("172.16.1.1/24", "172.16.0.1/23", True),
            ("172.16.1.1/25", "172.16.0.1/24", False),
            ("172.16.1.1/25", "172.16.2.1/24", False),
        ],
    )
    def test_either_way_round(self, a: str, b: str, overlap: bool) -> None:
        """Two networks overlap as they did, whichever is asked about."""
        assert networks_overlap(a, b) is networks_overlap(b, a) is overlap


class TestCheckRouteOverlaps:
    def test_a_route_without_a_mask(self) -> None:
        """Among the routes of f5a8e90d10 one without a mask is in the way of its own /24 alone."""
        routes = ("10.0.2.0", "10.0.3.0/24", "10.0.42.0/24", "172.16.42.0/24", "192.168.142.0/24")
        occupied = [Occupied(route, f"route {route}") for route in routes]
        check_free("172.16.0.1/24", occupied)
        assert code_of(check_free, "10.0.2.0/24", occupied) == "address_in_use"


def test_candidates_of_4714f102d7() -> None:
    """Each of the twelve ranges that were tried from then on is still there to be chosen, whole or in part."""
    ranges = ["172.16.42.1/16", "10.0.42.1/16", "10.1.42.1/16", "10.42.42.1/16"]
    ranges += [f"172.16.{third}.1/24" for third in (42, 43, 44)]
    ranges += [f"10.0.{third}.1/24" for third in (42, 43)]
    ranges += [f"192.168.{third}.1/24" for third in (42, 43, 44)]
    assert [each for each in ranges if not any(networks_overlap(each, ours) for ours in CANDIDATES)] == []


@pytest.mark.system
def test_networking_switched_off_of_49673fc45c(state: Path) -> None:
    """With no network, as after `-b none`, nothing can be allocated, and releasing is no error."""
    with Agent(Config(kernel="memory", state=str(state), default_network=False)) as agent:
        assert code_of(agent.allocate, "web", ports=["80"]) == "not_found"
        assert not agent.release("web")
