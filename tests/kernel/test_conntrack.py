import pytest

from moorage.kernel.linux.conntrack import Entry, _requests, ends
from moorage.kernel.protocol import Flow

TCP, UDP = 6, 17
WEB, HOST, ELSEWHERE = "10.0.42.2", "192.0.2.1", "198.51.100.9"
ANY = Flow("tcp", "", 8080, 8080, (WEB,))
ONE = ANY._replace(host_ip=HOST)


def entry(proto: int, target: str, answers: str) -> Entry:
    return Entry(proto, target, 8080, answers, 2, b"")


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
    assert ends(flow, found, {HOST}) is ended


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
    wanted = [(TCP if number % 2 else UDP, 8000 + number) for number in range(ports)]
    assert len(_requests(wanted, [2, 10][:families], entries)) == walks
