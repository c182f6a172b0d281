from ipaddress import ip_network

import pytest

from moorage.kernel.linux.conntrack import _dumps
from moorage.kernel.linux.ctnetlink import Entry
from moorage.kernel.linux.flows import Wanted, ends, is_stray
from moorage.kernel.linux.local import Local
from moorage.kernel.protocol import Flow

TCP, UDP = 6, 17
WEB, HOST, ELSEWHERE = "10.0.42.2", "192.0.2.1", "198.51.100.9"
LOCAL = Local(frozenset({HOST}))
ANY = Flow("tcp", "", 8080, 8080, (WEB,))
ONE = ANY._replace(host_ip=HOST)


def entry(proto: int, target: str, answers: str) -> Entry:
    return Entry(proto, target, 8080, answers, answers != target, 2, b"")


@pytest.mark.parametrize(
    ("flow", "found", "ended"),
    [
        (ANY, entry(TCP, HOST, WEB), True),
        (ANY, entry(TCP, "127.0.0.1", WEB), True),
        (ANY, entry(TCP, "203.0.113.7", WEB), True),
        (ANY, entry(TCP, HOST, "10.0.42.9"), True),
        (ANY, entry(TCP, HOST, HOST), False),
        (ANY, entry(UDP, HOST, HOST), True),
        (ANY, entry(UDP, "127.0.0.9", "127.0.0.9"), True),
        (ANY, entry(UDP, ELSEWHERE, ELSEWHERE), False),
        (ANY, entry(TCP, ELSEWHERE, "10.0.42.9"), False),
        (ANY, entry(TCP, WEB, WEB), False),
        (ONE, entry(TCP, HOST, WEB), True),
        (ONE, entry(TCP, "127.0.0.1", WEB), False),
    ],
    ids=[
        "translated to the container",
        "over loopback",
        "to an address that the host has lost",
        "translated to a container that is gone",
        "to a socket of the host",
        "UDP older than the mapping",
        "UDP to any loopback address",
        "going out to the same port elsewhere",
        "translated by others elsewhere",
        "to the container itself, not through the mapping",
        "to the one address of the mapping",
        "to another address than the mapping's",
    ],
)
def test_only_connections_of_the_mapping_end(flow: Flow, found: Entry, ended: bool) -> None:
    """An entry ends when it went through the mapping, or to it before it was there, and no other does."""
    assert ends(flow, found, LOCAL) is ended


@pytest.mark.parametrize(
    ("flows", "found", "stray"),
    [
        ([], entry(TCP, HOST, WEB), True),
        ([ANY], entry(TCP, HOST, WEB), False),
        ([ONE], entry(TCP, HOST, WEB), False),
        ([ONE], entry(TCP, "127.0.0.1", WEB), True),
        ([ANY], entry(TCP, HOST, "10.0.42.9"), True),
        ([], entry(TCP, HOST, HOST), False),
        ([], entry(TCP, HOST, ELSEWHERE), False),
        ([], entry(TCP, ELSEWHERE, WEB), False),
        ([ANY], entry(TCP, ELSEWHERE, WEB), True),
        ([ONE], entry(TCP, ELSEWHERE, WEB), False),
    ],
    ids=[
        "unpublished",
        "published",
        "published on this address",
        "published on another address",
        "to the container before",
        "to a socket of the host",
        "translated by others elsewhere",
        "led to the container by others",
        "to an address that the host has lost",
        "led by others from another address than the mapping's",
    ],
)
def test_strays_are_what_no_mapping_leads_to_a_container(
    flows: list[Flow], found: Entry, stray: bool
) -> None:
    """What goes from a host address to a container is a stray unless a mapping leads it there."""
    assert is_stray(found, flows, [ip_network("10.0.42.0/24")], LOCAL) is stray


@pytest.mark.parametrize(
    ("ports", "families", "entries", "walks"),
    [
        (1, 1, 5, 1),
        (2, 2, 5, 1),
        (200, 1, 5, 1),
        (2, 2, 3_000, 4),
        (20, 2, 4_000, 4),
        (20, 2, 100_000, 40),
        (60, 2, 100_000, 4),
    ],
)
def test_a_flush_walks_the_table_no_more_than_pays(
    ports: int, families: int, entries: int, walks: int
) -> None:
    """Few entries are read in one walk, many only as far as they are of the protocols or ports in question."""
    flows = [_flow(number, families) for number in range(ports)]
    assert len(_dumps(flows, [2, 10][:families], entries)) == walks


def test_a_range_is_ended_in_one_walk() -> None:
    """Thousands of ports of one mapping are looked for in one walk of the table, of their protocol alone."""
    flow = Flow("tcp", "", 20000, 29999, (WEB,))
    assert len(_dumps([flow], [2], 100)) == 1
    assert len(_dumps([flow], [2], 5_000)) == 1


def test_flows_are_found_by_port_and_protocol() -> None:
    """A port belongs to the runs that have it, of its protocol, and to the single ports of its number."""
    run, one = Flow("tcp", "", 8000, 8009, (WEB,)), Flow("udp", "", 8000, 8000, (WEB,))
    wanted = Wanted([run, one])
    found = {
        port: (list(wanted.of(TCP, port)), list(wanted.of(UDP, port))) for port in (7999, 8000, 8009, 8010)
    }
    assert found == {7999: ([], []), 8000: ([run], [one]), 8009: ([run], []), 8010: ([], [])}


def _flow(number: int, families: int) -> Flow:
    proto, backends = "tcp" if number % 2 else "udp", (WEB, "fd00:42::2")[:families]
    return Flow(proto, "", 8000 + number, 8000 + number, backends)
