from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kernel.protocol import Element
from moorage.model.elements import mapping_elements, network_elements
from moorage.values import ANY, Mapping, Network

IP, IPV6 = "10.0.42.2", "fd00:42::2"
NETWORK = Network("default", "moorage0", "10.0.42.0/24", "10.0.42.1")


def test_a_network_is_let_pass_kept_apart_and_masqueraded() -> None:
    """A network is its bridge, its bridge with itself, and its subnet with and without the bridge."""
    assert network_elements(NETWORK) == {
        Element("bridges", ("moorage0",)),
        Element("samebr", ("moorage0", "moorage0")),
        Element("net4if", ("10.0.42.0/24", "moorage0")),
        Element("masq4", ("10.0.42.0/24",)),
    }


def test_ipv6_and_internal_add_their_own() -> None:
    """An IPv6 subnet and the word internal add elements and change none."""
    more = network_elements(replace(NETWORK, subnet6="fd00:42::/64", gateway6="fd00:42::1", internal=True))
    assert more - network_elements(NETWORK) == {
        Element("internal", ("moorage0",)),
        Element("net6if", ("fd00:42::/64", "moorage0")),
        Element("masq6", ("fd00:42::/64",)),
    }


@pytest.mark.parametrize(
    ("host_ip", "dual", "ipv6", "containers"),
    [
        (ANY, True, IPV6, {"pub4_any", "pub6_any"}),
        (ANY, True, None, {"pub4_any"}),
        (ANY, False, IPV6, {"pub4_any"}),
        ("::", False, IPV6, {"pub6_any"}),
        ("::", False, None, set()),
        ("127.0.0.1", False, IPV6, {"pub4_ip"}),
        ("192.0.2.1", False, None, {"pub4_ip"}),
        ("2001:db8::1", False, IPV6, {"pub6_ip"}),
        ("2001:db8::1", False, None, set()),
        ("::1", False, IPV6, set()),
    ],
)
def test_host_addresses_choose_the_map(
    host_ip: str, dual: bool, ipv6: str | None, containers: set[str]
) -> None:
    """A mapping goes to the maps of the families it names, unless only the proxy can carry it."""
    mapping = Mapping("tcp", host_ip, 8080, 80, dual=dual)
    assert {element.container for element in mapping_elements(mapping, IP, ipv6)} == containers


def test_keys_and_values_are_as_nftables_has_them() -> None:
    """The key is host address, protocol and host port; the value is the container's address and port."""
    assert mapping_elements(Mapping("udp", "2001:db8:0::1", 53, 5353), IP, IPV6) == {
        Element("pub6_ip", ("2001:db8::1", "udp", 53), (IPV6, 5353))
    }


@given(first=st.integers(1, 60000), container=st.integers(1, 60000), count=st.integers(1, 50))
def test_a_range_is_an_element_a_port(first: int, container: int, count: int) -> None:
    """Port i of a range leads to container port i, for each family."""
    mapping = Mapping("tcp", ANY, first, container, count, dual=True)
    assert mapping_elements(mapping, IP, IPV6) == {
        Element(name, ("tcp", first + i), (backend, container + i))
        for name, backend in (("pub4_any", IP), ("pub6_any", IPV6))
        for i in range(count)
    }
