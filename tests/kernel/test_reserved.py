import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab import Lab
from moorage.kernel.linux import reserved
from moorage.kernel.linux.firewall import LinuxFirewall


@given(st.frozensets(st.integers(0, 65535), max_size=200))
def test_ports_are_written_and_read_back(ports: frozenset[int]) -> None:
    """What is formatted is parsed to the same ports, in order and with neighbours as ranges."""
    text = reserved.format_ports(ports)
    assert reserved.parse(text + "\n") == ports
    assert text.count(",") == max(0, sum(port - 1 not in ports for port in ports) - 1)


@pytest.mark.system
def test_what_others_reserved_is_kept() -> None:
    """Adding and removing ours leaves the ports that others wrote, whichever way they are written."""
    with Lab() as lab:
        lab.run("host", ["sysctl", "-w", "net.ipv4.ip_local_reserved_ports=7000-7009,9999"])
        lab.call("host", reserved.write, {8080, 7010}, ())
        assert lab.call("host", reserved.read) == {*range(7000, 7011), 8080, 9999}
        lab.call("host", reserved.write, {8081}, {8080, 7010, 1})
        assert lab.call("host", reserved.read) == {*range(7000, 7010), 8081, 9999}


@pytest.mark.system
def test_lists_longer_than_a_page_are_written_and_read_whole() -> None:
    """5,000 scattered ports, more than six pages of text, are reserved, changed and freed."""
    with Lab() as lab:
        ports = set(range(20000, 30000, 2))
        lab.call("host", reserved.write, ports, ())
        assert lab.call("host", reserved.read) == ports
        lab.call("host", reserved.write, {1}, {20000})
        assert lab.call("host", reserved.read) == ports - {20000} | {1}
        lab.call("host", reserved.write, (), ports | {1})
        assert lab.call("host", reserved.read) == frozenset()


@pytest.mark.system
def test_the_ephemeral_range_is_the_namespace_s() -> None:
    """The last port of ip_local_port_range is included."""
    with Lab() as lab:
        lab.run("host", ["sysctl", "-w", "net.ipv4.ip_local_port_range=40000 50000"])
        assert lab.call("host", reserved.ephemeral) == range(40000, 50001)


@pytest.mark.system
def test_what_others_took_out_is_noticed_after_our_own_change() -> None:
    """A change of somebody else's is noticed, also when one of our own comes before anybody has looked."""
    with Lab() as lab:
        firewall = lab.call("host", LinuxFirewall, loopback="kernel")
        lab.call("host", firewall.write_reserved, {8080}, ())
        lab.call("host", firewall.changed)
        lab.call("host", firewall.write_reserved, {8081}, ())
        assert not lab.call("host", firewall.changed)
        lab.call("host", reserved.write, (), {8080})
        lab.call("host", firewall.write_reserved, {8082}, ())
        assert lab.call("host", firewall.changed)
        assert not lab.call("host", firewall.changed)
        firewall.close()


@pytest.mark.system
@pytest.mark.parametrize(
    ("listed", "count"),
    [("", 0), ("39990-40009", 10), ("40000,40002-40003,50000-50001", 4), ("1-65535", 10001), ("80,60000", 0)],
)
def test_reserved_ports_are_counted(listed: str, count: int) -> None:
    """Those within the range of outgoing connections are counted, ranges that lie across its ends too."""
    with Lab() as lab:
        name = "net.ipv4.ip_local_reserved_ports"
        lab.run("host", ["sysctl", "-w", "net.ipv4.ip_local_port_range=40000 50000", f"{name}={listed}"])
        assert lab.call("host", lambda: reserved.count(reserved.ephemeral())) == count
