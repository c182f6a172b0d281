from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.kernel.protocol import Element
from moorage.model.elements import astray, mapping_elements, network_elements, ports_of
from moorage.model.recovery import mappings_of
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
        ("fe80::1", False, IPV6, set()),
        ("febf::1", False, IPV6, set()),
        ("fec0::1", False, IPV6, {"pub6_ip"}),
        ("169.254.1.1", False, IPV6, {"pub4_ip"}),
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


RANGES = st.tuples(st.integers(1, 60000), st.integers(1, 50))


@given(run=RANGES, container=st.integers(1, 60000))
def test_a_shifted_range_is_an_element_a_port(run: tuple[int, int], container: int) -> None:
    """Port i of a range with other numbers in the container leads to container port i, for each family."""
    first, count = run
    mapping = Mapping("tcp", ANY, first, container + (container == first), count, dual=True)
    assert mapping_elements(mapping, IP, IPV6) == {
        Element(name, ("tcp", first + i), (backend, mapping.container_port + i))
        for name, backend in (("pub4_any", IP), ("pub6_any", IPV6))
        for i in range(count)
    }


def test_a_range_that_keeps_its_numbers_is_one_element() -> None:
    """Its ports are an interval and its value has no port, for each family; one port is no range."""
    assert mapping_elements(Mapping("tcp", ANY, 8000, 8000, 10, dual=True), IP, IPV6) == {
        Element("run4_any", ("tcp", "8000-8009"), (IP,)),
        Element("run6_any", ("tcp", "8000-8009"), (IPV6,)),
    }
    assert mapping_elements(Mapping("udp", "192.0.2.1", 8000, 8000, 2), IP, IPV6) == {
        Element("run4_ip", ("192.0.2.1", "udp", "8000-8001"), (IP,))
    }
    assert mapping_elements(Mapping("tcp", "::", 80, 80), IP, IPV6) == {
        Element("pub6_any", ("tcp", 80), (IPV6, 80))
    }


SPANS = st.tuples(st.integers(1, 30), st.integers(1, 9))
APART = st.lists(
    st.tuples(st.sampled_from([1, 7, 13, 19, 25]), st.integers(1, 6)), unique_by=lambda span: span[0]
)


@given(present=st.lists(st.tuples(SPANS, st.integers(0, 1))), apart=APART)
def test_connections_go_astray_with_their_ports(
    present: list[tuple[tuple[int, int], int]], apart: list[tuple[int, int]]
) -> None:
    """The connections of exactly the ports that are not published any more end, in whatever form they were."""
    kept = [Mapping("tcp", ANY, first, first, count) for (first, count) in apart]
    mappings = [Mapping("tcp", ANY, first, first + shift, count) for (first, count), shift in present]
    there = [element for mapping in mappings for element in mapping_elements(mapping, IP, None)]
    published = [element for mapping in kept for element in mapping_elements(mapping, IP, None)]
    ended = Counter(port for flow in astray(there, published) for port in range(flow.first, flow.last + 1))
    assert ended == Counter(port for port in _ports(there) if port not in set(_ports(published)))


def _ports(elements: Iterable[Element]) -> list[int]:
    return [port for element in elements for port in ports_of(element)]


@given(run=RANGES, host_ip=st.sampled_from([ANY, "192.0.2.1"]), ipv6=st.sampled_from([IPV6, None]))
def test_a_range_that_keeps_its_numbers_is_read_back(
    run: tuple[int, int], host_ip: str, ipv6: str | None
) -> None:
    """Out of the elements of a range that keeps its numbers the same mapping is made again."""
    mapping = Mapping("udp", host_ip, run[0], run[0], run[1], dual=host_ip == ANY)
    assert mappings_of(mapping_elements(mapping, IP, ipv6), IP, ipv6) == (mapping,)
