import socket

import pytest

from echo_server import ask
from firewall_stand import IP, IPV6, NETWORK, Stand, stand
from lab import HOST, HOST6, OUTSIDE, OUTSIDE6, Lab
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.linux.nftables import Nftables
from moorage.kernel.protocol import Forwarded
from moorage.model.elements import network_elements
from moorage.values import ANY, Mapping

pytestmark = pytest.mark.system


def mapping(host_port: int = 8080, container_port: int = 80, proto: str = "tcp") -> Mapping:
    return Mapping(proto, ANY, host_port, container_port, dual=True)


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_published_port_answers_from_everywhere(at: Stand, proto: str) -> None:
    """Outside is seen as itself and all others as the gateway; unpublished, it answers nobody."""
    at.lab.echo_server("web", proto, 80)
    assert not at.lab.can_reach("outside", (HOST, 8080), proto)
    at.publish(mapping(proto=proto))
    assert at.lab.connect("outside", (HOST, 8080), proto)[:3:2] == (OUTSIDE, "web")
    assert at.lab.connect("outside", (HOST6, 8080), proto)[:3:2] == (OUTSIDE6, "web")
    assert at.lab.connect("host", ("127.0.0.1", 8080), proto)[:3:2] == ("10.0.42.1", "web")
    assert at.lab.connect("web", (HOST, 8080), proto)[:3:2] == ("10.0.42.1", "web")
    at.unpublish(mapping(proto=proto))
    assert not at.lab.can_reach("outside", (HOST, 8080), proto)


def test_container_and_gateway_addresses_are_not_reached_from_outside(at: Stand) -> None:
    """Neither the container's nor the gateway's address answers outside; counted packets are no damage."""
    at.lab.echo_server("web", "tcp", 80)
    at.lab.echo_server("host", "tcp", 81)
    at.publish(mapping(80, 80))
    for address in ((IP, 80), (IPV6, 80), ("10.0.42.1", 81), ("fd00:42::1", 81), ("10.0.42.1", 80)):
        assert not at.lab.can_reach("outside", address, timeout=0.3)
    assert at.firewall.install(network_elements(NETWORK) | at.elements(mapping(80, 80))) == []


@pytest.mark.parametrize(
    ("source", "to"), [("outside", HOST), ("outside", HOST6), ("host", "127.0.0.1"), ("host", HOST)]
)
@pytest.mark.parametrize("host_port", [80, 8080])
def test_unpublishing_ends_tcp_connections(at: Stand, source: str, to: str, host_port: int) -> None:
    """An established connection ends on both sides with its mapping, also where both ports are the same."""
    server = at.lab.socket("web", socket.AF_INET6)
    server.bind(("::", 80))
    server.listen()
    at.publish(mapping(host_port, 80))
    client = at.lab.open(source, (to, host_port))
    with server.accept()[0] as accepted:
        accepted.settimeout(5)
        accepted.sendall(b"before")
        assert client.recv(9) == b"before"
        at.unpublish(mapping(host_port, 80))
        accepted.sendall(b"after")
        with pytest.raises(ConnectionResetError):
            accepted.recv(9)
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(9)
        client.send(b"x")
        client.settimeout(5)
        with pytest.raises(ConnectionResetError):
            client.recv(9)


def test_connections_end_with_what_is_removed_at_the_start(at: Stand) -> None:
    """A port that was unpublished while nobody could remove it ends its connections when it is removed."""
    at.lab.echo_server("web", "tcp", 80)
    at.publish(mapping(8080, 80))
    client = at.lab.open("outside", (HOST, 8080))
    assert ask(client).server == "web"
    successor = at.lab.call("host", LinuxFirewall, loopback="kernel")
    at.lab.call("host", successor.install, network_elements(NETWORK))
    successor.close()
    with pytest.raises(ConnectionResetError):
        ask(client)


@pytest.mark.parametrize("host_port", [53, 5353])
def test_unpublishing_ends_udp_flows(at: Stand, host_port: int) -> None:
    """A client that was answered before is not answered after, on the same socket."""
    at.lab.echo_server("web", "udp", 53)
    at.publish(mapping(host_port, 53, "udp"))
    client = at.lab.open("outside", (HOST, host_port), "udp")
    assert ask(client).server == "web"
    at.unpublish(mapping(host_port, 53, "udp"))
    with pytest.raises(ConnectionRefusedError):
        ask(client)


def test_a_udp_flow_older_than_its_mapping_is_translated(at: Stand) -> None:
    """A client that sent to the port before it was published is answered afterwards, on the same socket."""
    at.lab.echo_server("web", "udp", 53)
    client = at.lab.open("outside", (HOST, 53), "udp")
    with pytest.raises(ConnectionRefusedError):
        ask(client)
    at.publish(mapping(53, 53, "udp"))
    assert ask(client).server == "web"


def test_other_connections_survive(at: Stand) -> None:
    """Unpublishing a port and repairing the table break no connection of another port, nor one going out."""
    at.lab.echo_server("web", "tcp", 80)
    at.lab.echo_server("outside", "tcp", 8080)
    at.publish(mapping(8080))
    at.publish(mapping(8081))
    kept, out = at.lab.open("outside", (HOST, 8081)), at.lab.open("web", (OUTSIDE, 8080))
    assert (ask(kept).server, ask(out).peer) == ("web", HOST)
    at.unpublish(mapping(8080))
    other = at.lab.call("host", Nftables)
    other.run("flush chain inet moorage from_net")
    other.close()
    at.firewall.install(network_elements(NETWORK) | at.elements(mapping(8081)))
    assert (ask(kept).server, ask(out).peer) == ("web", HOST)


def test_loopback_can_be_left_to_the_proxy() -> None:
    """With loopback by the proxy, 127.0.0.1 reaches the host's listener, other addresses the container."""
    with Lab() as lab:
        at = stand(lab, "proxy")
        lab.echo_server("web", "tcp", 80)
        lab.echo_server("host", "tcp", 8080)
        at.publish(mapping())
        at.publish(Mapping("tcp", "127.0.0.1", 8080, 80))
        assert lab.connect("host", ("127.0.0.1", 8080)).server == "host"
        assert lab.connect("host", (HOST, 8080)).server == "web"
        assert lab.connect("outside", (HOST, 8080)).server == "web"
        at.firewall.close()


BRIDGE = Forwarded("moorage0", ipv6=True)
IPTABLES = """
add table {0} filter
add chain {0} filter FORWARD {{ type filter hook forward priority 0; policy {1}; }}
"""


def test_a_forward_policy_of_iptables_does_not_stop_us(at: Stand) -> None:
    """A dropping FORWARD gets one chain with our bridges, keeps its rules, and is given back clean."""
    at.lab.echo_server("web", "tcp", 80)
    at.publish(mapping())
    other = at.lab.call("host", Nftables)
    for family in ("ip", "ip6"):
        other.run(
            IPTABLES.format(family, "drop") + f"add rule {family} filter FORWARD tcp dport 9 counter drop"
        )
    before = [other.list(f"table {family} filter") for family in ("ip", "ip6")]
    assert not at.lab.can_reach("outside", (HOST, 8080), timeout=0.3)
    assert at.firewall.changed()
    kept = at.lab.call("host", at.firewall.keep_forwarding, [BRIDGE])
    assert (kept.warnings, len(kept.repaired)) == ([], 2)
    assert at.lab.can_reach("outside", (HOST, 8080))
    assert at.lab.can_reach("outside", (HOST6, 8080))
    listed = other.list("ruleset")
    assert at.lab.call("host", at.firewall.keep_forwarding, [BRIDGE]) == ([], [])
    assert (other.list("ruleset"), at.firewall.changed()) == (listed, False)
    other.run("flush chain ip filter FORWARD\nadd rule ip filter FORWARD tcp dport 9 counter drop")
    at.lab.call("host", at.firewall.keep_forwarding, [BRIDGE])
    assert at.lab.can_reach("outside", (HOST, 8080))
    at.lab.call("host", at.firewall.keep_forwarding, [Forwarded("moorage7", ipv6=True)])
    assert not at.lab.can_reach("outside", (HOST, 8080), timeout=0.3)
    at.lab.call("host", at.firewall.keep_forwarding, [])
    assert [len(other.list(f"table {family} filter")) for family in ("ip", "ip6")] == [
        len(part) for part in before
    ]
    other.close()


def test_under_a_policy_of_accept_nothing_is_put_into_forward(at: Stand) -> None:
    """Our chain is there only while the policy drops, so that other rules keep their say."""
    other = at.lab.call("host", Nftables)
    other.run(IPTABLES.format("ip", "accept"))
    at.lab.call("host", at.firewall.keep_forwarding, [BRIDGE])
    assert len(other.list("table ip filter")) == 2
    other.run(IPTABLES.format("ip", "drop"))
    at.lab.call("host", at.firewall.keep_forwarding, [BRIDGE])
    assert len(other.list("table ip filter")) == 6
    other.run(IPTABLES.format("ip", "accept"))
    at.lab.call("host", at.firewall.keep_forwarding, [BRIDGE])
    assert len(other.list("table ip filter")) == 2
    other.close()
