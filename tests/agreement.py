"""Whether all who know something of interfaces know the same: journal, tree, pools, listeners, kernel."""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Callable, Iterable, Set
from dataclasses import replace
from typing import Any

from agents import AgentProcess
from lab import Lab
from moorage import Agent
from moorage.control.journal import GetInterfaces
from moorage.control.port_mapper import host_ports, rules_of
from moorage.kernel.linux import elements, firewall
from moorage.kernel.linux.masquerading import SPREADING
from moorage.kernel.linux.nfnetlink import SOCK_DIAG, Netlink
from moorage.kernel.memory import MemoryKernel
from moorage.kernel.protocol import Element
from moorage.model.elements import network_elements
from moorage.model.forwarding import SWITCHES, forwarding_elements
from moorage.model.guard import guard_elements
from moorage.model.port_spec import PROTOCOLS
from moorage.rpc.wire import interface_from_wire, interface_to_wire
from moorage.supervision.directory import Address
from moorage.values import ANY, Interface, Network

Port = tuple[str, int]
StartAgent = Callable[..., Agent]
SOCK_DIAG_BY_FAMILY = 20  # linux/sock_diag.h
STATES = {"tcp": (socket.IPPROTO_TCP, 10), "udp": (socket.IPPROTO_UDP, 7)}  # TCP_LISTEN, TCP_CLOSE
"""The number of each protocol, and what a socket without a peer is: LISTEN and CLOSE (net/tcp_states.h)."""


def actor(agent: Agent, name: str) -> Any:
    """The actor of that name itself, to look inside or to disturb it."""
    assert agent._context is not None
    ref = agent._context.directory.find(name)
    assert ref is not None, f"there is no {name}"
    return ref.actor_inbox.abandon.__self__  # a bound method of the actor is all that a reference holds of it


def assert_agreement(agent: Agent, *, besides: Set[Port] = frozenset()) -> list[Interface]:
    """Compare all with the journal, while no request is under way, and return its interfaces.

    `besides` are ports that others listen on.
    """
    interfaces = recorded(agent)
    assert agent.list() == [interface_from_wire(interface_to_wire(each)) for each in interfaces]
    assert_same("tree", tree_of(agent), expected_tree(agent, interfaces))
    assert_same("pools", pools_of(agent), expected_pools(agent, interfaces))
    assert_same("kernel", kernel_of(agent), expected_kernel(agent, interfaces))
    expected = expected_listeners(listened(agent.networks(), interfaces))
    assert_same("listeners", listening() - besides, expected - besides)
    return interfaces


def assert_same(where: str, present: Set[Any], recorded: Set[Any]) -> None:
    """Say what is there without a record, and what is recorded and not there."""
    more, less = sorted(present - recorded, key=repr), sorted(recorded - present, key=repr)
    assert not more, f"{where}: without a record {more[:9]}"
    assert not less, f"{where}: recorded, and not there {less[:9]}"


def recorded(agent: Agent) -> list[Interface]:
    """The interfaces of the journal, with what the wire leaves out."""
    assert agent._context is not None
    interfaces: list[Interface] = Address(agent._context.directory, "journal").ask(GetInterfaces()).wait()
    return interfaces


def tree_of(agent: Agent) -> set[str]:
    return {each.name for each in agent.tree() if each.name.startswith(("proxy:", "interface:", "ip:"))}


def expected_tree(agent: Agent, interfaces: Iterable[Interface]) -> set[str]:
    networks = agent.networks()
    names = {f"ip:{network.name}" for network in networks} | {f"interface:{each.id}" for each in interfaces}
    return names | proxies_of(listened(networks, interfaces))


def proxies_of(interfaces: Iterable[Interface]) -> set[str]:
    return {f"proxy:{mapping.name}" for each in interfaces for mapping in each.ports}


def listened(networks: Iterable[Network], interfaces: Iterable[Interface]) -> list[Interface]:
    """Those on networks whose ports have listeners."""
    bare = {network.name for network in networks if network.proxy == "never"}
    return [each for each in interfaces if each.network not in bare]


def pools_of(agent: Agent) -> set[tuple[Any, ...]]:
    """What the allocators hold."""
    held: set[tuple[Any, ...]] = set()
    for proto in PROTOCOLS:
        for lease in actor(agent, f"{proto}-ports")._pool.held():
            held.add((proto, lease.ports.key_ip, lease.ports.port, lease.ports.count, lease.owner))
    for network in agent.networks():
        for pool in actor(agent, f"ip:{network.name}")._pools:
            held |= {(network.name, address, owner) for address, owner in pool.held().items()}
    return held


def expected_pools(agent: Agent, interfaces: Iterable[Interface]) -> set[tuple[Any, ...]]:
    held: set[tuple[Any, ...]] = set()
    for each in interfaces:
        held |= {(m.proto, m.key_ip, m.host_port, m.count, each.id) for m in each.ports}
        held |= {(each.network, address, each.id) for address in (each.ip, each.ipv6) if address}
    return held


def kernel_of(agent: Agent) -> frozenset[Element]:
    assert agent._context is not None
    kernel = agent._context.kernel
    assert isinstance(kernel, MemoryKernel)
    return kernel.elements


def expected_kernel(agent: Agent, interfaces: Iterable[Interface]) -> frozenset[Element]:
    networks = {network.name: network for network in agent.networks()}
    rules = [rules_of(each) | guard_elements(each, networks[each.network]) for each in interfaces]
    return frozenset().union(*rules, *map(network_elements, networks.values()))


def expected_listeners(interfaces: Iterable[Interface]) -> set[Port]:
    return {
        (proto, port)
        for each in interfaces
        for proto in STATES
        for port in host_ports(mapping for mapping in each.ports if mapping.proto == proto)
    }


def listening() -> set[Port]:
    """The tcp and udp ports that sockets of this thread's network namespace are bound to, and wait at.

    Asked of the kernel's socket diagnosis: /proc/net/tcp walks every connection there could be, for 2 ms.
    """
    found = set()
    with Netlink(SOCK_DIAG) as netlink:
        for proto, (number, state) in STATES.items():
            for family in (socket.AF_INET, socket.AF_INET6):
                wanted = struct.pack(
                    "=BBxxI48x", family, number, 1 << state
                )  # inet_diag_req_v2, linux/inet_diag.h
                for each in netlink.dump(SOCK_DIAG_BY_FAMILY, wanted):
                    found.add((proto, struct.unpack_from("!H", each, 4)[0]))
    return found


def assert_agreement_on_host(agent: AgentProcess, lab: Lab) -> list[Interface]:
    """Compare journal, tree, kernel and listeners of an agent whose mappings on 0.0.0.0 are on any address."""
    interfaces = [dual(each) for each in agent.client.list()]
    networks = agent.client.networks()
    proxied = listened(networks, interfaces)
    proxies = {each.name for each in agent.client.tree() if each.name.startswith("proxy:")}
    assert_same("tree", proxies, proxies_of(proxied))
    rules = [rules_of(each) for each in interfaces]
    recorded = frozenset().union(*rules, *map(network_elements, networks))
    confined = forwarding_elements(dict.fromkeys(SWITCHES.values(), "0"))
    assert_same("kernel", lab.call("host", read_elements) - confined, recorded)
    assert_same("listeners", lab.call("host", listening), expected_listeners(proxied))
    links = {
        each["ifname"] for each in json.loads(lab.run("host", ["ip", "-j", "link", "show", "type", "veth"]))
    }
    assert len(links - {"eth0"}) == sum(each.netns is not None for each in interfaces), f"links: {links}"
    return interfaces


def dual(interface: Interface) -> Interface:
    ports = tuple(replace(mapping, dual=mapping.host_ip == ANY) for mapping in interface.ports)
    return replace(interface, ports=ports)


def read_elements() -> set[Element]:
    """The elements of the kernel's table in this thread's namespace, but for the maker's and those of masquerading."""
    netlink = firewall._open()
    try:
        return {
            each
            for each in elements.read(netlink)
            if each.container not in {"maker", "share", "agent", *SPREADING}
        }
    finally:
        netlink.close()
