"""A host with one network and one container behind a firewall, without an agent."""

from __future__ import annotations

from dataclasses import dataclass

from lab import Lab
from moorage.kernel.linux.firewall import LinuxFirewall
from moorage.kernel.protocol import Element, Flow
from moorage.model.elements import mapping_elements, network_elements
from moorage.values import Mapping, Network

NETWORK = Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1", "fd00:42::/64", "fd00:42::1")
IP, IPV6 = "10.0.42.2", "fd00:42::2"
HOST_SET_UP = """
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
ip link add moorage0 type bridge
sysctl -qw net.ipv4.conf.moorage0.route_localnet=1 net.ipv6.conf.moorage0.accept_dad=0
ip link set moorage0 up
ip address add 10.0.42.1/24 dev moorage0
ip address add fd00:42::1/64 dev moorage0 nodad
ip link add web type veth peer name eth0 netns {netns}
ip link set web master moorage0 up
bridge link set dev web hairpin on
"""
CONTAINER_SET_UP = f"""
sysctl -qw net.ipv6.conf.eth0.accept_dad=0
ip link set eth0 up
ip address add {IP}/24 dev eth0
ip address add {IPV6}/64 dev eth0 nodad
ip route add default via 10.0.42.1
ip route add default via fd00:42::1
"""


@dataclass
class Stand:
    """A lab whose host has a network with one container, `web`, behind a firewall."""

    lab: Lab
    firewall: LinuxFirewall

    def publish(self, mapping: Mapping) -> None:
        self.lab.call("host", self.firewall.change, self.elements(mapping), ())
        self.flush(mapping)

    def unpublish(self, mapping: Mapping) -> None:
        self.lab.call("host", self.firewall.change, (), self.elements(mapping))
        self.flush(mapping)

    def flush(self, mapping: Mapping) -> None:
        last = mapping.host_port + mapping.count - 1
        flow = Flow(mapping.proto, mapping.key_ip, mapping.host_port, last, (IP, IPV6))
        self.lab.call("host", self.firewall.flush_flows, [flow])

    def elements(self, mapping: Mapping) -> frozenset[Element]:
        return mapping_elements(mapping, IP, IPV6)


def stand(lab: Lab, loopback: str = "kernel") -> Stand:
    path = lab.container("web")
    lab.run("host", ["sh", "-ec", HOST_SET_UP.format(netns=path.rpartition("/")[2])])
    lab.run("web", ["sh", "-ec", CONTAINER_SET_UP])
    made = lab.call("host", LinuxFirewall, loopback=loopback)
    made.install(network_elements(NETWORK))
    return Stand(lab, made)
