"""Interfaces, their addresses and their ports."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from moorage.errors import Code, Refused
from moorage.store import Commit, Conflict, Done, DropInterface, DropNetwork, PutInterface, PutNetwork, Store
from store.samples import do, interface, mapping, network, refused


def test_interface_is_given_back_whole(store: Store) -> None:
    """Every field comes back as it was put, those that are not on the wire included."""
    put = replace(
        interface("web", 2, mapping(8080), mapping(53, "::1", proto="udp"), ipv6="fd00::2"),
        netns="/run/netns/web",
        ifname="eth0",
        netns_cookie=1_833,
    )
    assert do(store, PutInterface(put)) == (True,)
    assert store.interface("web") == put
    assert store.interfaces() == store.interfaces("net") == [put]
    assert store.interface("db") is None


def test_what_is_read_is_what_was_written_last(store: Store) -> None:
    """However often it was read before, a record is as it was put last, and none is kept of what is gone."""
    for last in (2, 3):
        do(store, PutInterface(interface("web", last)))
        assert [store.interfaces(), [store.interface("web")]] == [[interface("web", last)]] * 2
    do(store, DropInterface("web"))
    assert (store.interfaces(), store.interface("web")) == ([], None)
    assert store._unpacked == {}


def test_putting_the_same_again_changes_nothing(store: Store) -> None:
    """A record that is there already is said to be unchanged."""
    do(store, PutInterface(interface("web")))
    assert do(store, PutInterface(interface("web"))) == (False,)


def test_missing_network_is_named(store: Store) -> None:
    """An interface on a network that is not there is refused as not found, also when it moves to it."""
    do(store, PutInterface(interface("web")))
    for name in ("web", "db"):
        error = refused(store, PutInterface(interface(name, 9, net="gone")))
        assert isinstance(error, Refused)
        assert error.code is Code.NOT_FOUND
        assert "network gone" in error.text


@pytest.mark.parametrize("other", [interface("b", 2), interface("b", 3, ipv6="fd00::2")])
def test_address_is_held_by_one(store: Store, other: object) -> None:
    """An address of either family that is taken names its holder, and is free after its release."""
    do(store, PutInterface(interface("a", 2, ipv6="fd00::2")))
    error = refused(store, PutInterface(other))
    assert isinstance(error, Conflict)
    assert (error.code, error.holder) == (Code.ADDRESS_IN_USE, "a")
    do(store, DropInterface("a"), PutInterface(other))


def test_mac_is_held_by_one_of_a_network(store: Store) -> None:
    """A MAC that is taken names its holder; on another network, and once it is released, it is free."""
    do(store, PutNetwork(network("other", 43)), PutInterface(interface("a", 2)))
    twin = replace(interface("b", 3), mac=interface("a", 2).mac)
    error = refused(store, PutInterface(twin))
    assert isinstance(error, Refused)
    assert not isinstance(error, Conflict)
    assert error.code is Code.ADDRESS_IN_USE
    assert f"{twin.mac} on network net, which interface a has" in error.text
    do(store, PutInterface(replace(twin, network="other")), DropInterface("b"))
    do(store, DropInterface("a"), PutInterface(twin))


def test_mac_of_an_address_may_become_another(store: Store) -> None:
    """Where the MAC is the address's own, the refusal is a conflict, which another address resolves."""
    own = replace(interface("a", 2), mac="02:6d:0a:00:2a:03")
    do(store, PutInterface(own))
    error = refused(store, PutInterface(replace(interface("b", 3), mac=own.mac)))
    assert isinstance(error, Conflict)
    assert error.holder == "a"


def test_what_is_put_back_shares_its_mac(store: Store) -> None:
    """An interface that was there, and is put back or rebuilt, keeps the MAC that another has by now."""
    do(store, PutInterface(interface("a", 2)))
    for name, operation in (("b", {"gives_back": True}), ("c", {"rebuilt": True})):
        twin = replace(interface(name, 3 + ord(name)), mac=interface("a", 2).mac)
        do(store, PutInterface(twin, **operation))
    do(store, DropInterface("a"))
    store.verify()
    assert isinstance(refused(store, PutInterface(interface("a", 2))), Refused)


def test_addresses_of_networks_are_apart(store: Store) -> None:
    """The same address on two networks is no conflict, and each network lists its own."""
    do(store, PutNetwork(network("other", 43)), PutInterface(interface("a", 2)))
    do(store, PutInterface(interface("b", 2, net="other", ipv6="fd00::2")))
    assert store.addresses("net") == [("10.0.42.2", "a")]
    assert store.addresses("other") == [("10.0.42.2", "b"), ("fd00::2", "b")]


def test_replacing_moves_addresses_and_ports(store: Store) -> None:
    """What the new record no longer has is free for others, what it keeps is not."""
    do(store, PutInterface(interface("a", 2, mapping(80), mapping(81))))
    do(store, PutInterface(interface("a", 3, mapping(81), mapping(82))))
    do(store, PutInterface(interface("b", 2, mapping(80))))
    assert store.ports("tcp") == [("", 81, 1, "a"), ("", 82, 1, "a"), ("", 80, 1, "b")]
    for port in (81, 82):
        assert isinstance(refused(store, PutInterface(interface("c", 4, mapping(port)))), Conflict)


COLLISIONS = [
    ("", "", True),
    ("", "0.0.0.0", True),  # noqa: S104 - a value
    ("", "::", True),
    ("", "127.0.0.1", True),
    ("", "::1", True),
    ("0.0.0.0", "0.0.0.0", True),  # noqa: S104 - a value
    ("0.0.0.0", "127.0.0.1", True),  # noqa: S104 - a value
    ("0.0.0.0", "::", False),  # noqa: S104 - a value
    ("0.0.0.0", "::1", False),  # noqa: S104 - a value
    ("::", "::1", True),
    ("::", "127.0.0.1", False),
    ("127.0.0.1", "127.0.0.1", True),
    ("127.0.0.1", "127.0.0.2", False),
    ("127.0.0.1", "::1", False),
]


@pytest.mark.parametrize(("one", "other", "collide"), [*COLLISIONS, *((b, a, c) for a, b, c in COLLISIONS)])
def test_ports_collide_where_their_addresses_meet(store: Store, one: str, other: str, collide: bool) -> None:
    """A port on any address collides with one on a single address of its family, and the reverse."""
    do(store, PutInterface(interface("a", 2, mapping(80, one))))
    (outcome,) = store.commit([Commit((PutInterface(interface("b", 3, mapping(80, other))),))])
    assert isinstance(outcome, Conflict if collide else Done)
    held = store.port_holder(mapping(80, other))
    assert held == (("a", 80) if collide else ("b", 80))


def test_protocols_do_not_collide(store: Store) -> None:
    """The same port number of tcp, udp and sctp is three ports."""
    ports = [mapping(80, proto=proto) for proto in ("tcp", "udp", "sctp")]
    do(store, PutInterface(interface("a", 2, *ports)))
    assert [store.ports(proto) for proto in ("tcp", "udp", "sctp")] == [[("", 80, 1, "a")]] * 3


def test_port_conflict_names_holder_and_port(store: Store) -> None:
    """A range is refused naming the first port that is taken and who has it, and takes none."""
    do(store, PutInterface(interface("a", 2, mapping(8004))))
    error = refused(store, PutInterface(interface("b", 3, mapping(8000, "127.0.0.1", count=10))))
    assert isinstance(error, Conflict)
    assert (error.code, error.holder) == (Code.PORT_IN_USE, "a")
    assert "tcp/127.0.0.1:8000-8009" in error.text
    assert "port 8004 is held by interface a" in error.text
    do(store, PutInterface(interface("b", 3, mapping(8000, count=4), mapping(8005))))


def test_interface_cannot_take_a_port_twice(store: Store) -> None:
    """Two mappings of one interface on one port collide like any others, new or replaced."""
    assert isinstance(refused(store, PutInterface(interface("a", 2, mapping(80), mapping(80)))), Conflict)
    do(store, PutInterface(interface("a", 2, mapping(80))))
    error = refused(
        store, PutInterface(interface("a", 2, mapping(80), replace(mapping(80), container_port=9)))
    )
    assert isinstance(error, Conflict)
    assert error.holder == "a"


def test_port_may_lead_elsewhere(store: Store) -> None:
    """Replacing the container port of a mapping is no conflict with itself."""
    do(store, PutInterface(interface("a", 2, mapping(80))))
    moved = interface("a", 2, replace(mapping(80), container_port=9))
    do(store, PutInterface(moved))
    assert store.interface("a") == moved


def test_long_range_is_taken_whole(store: Store) -> None:
    """A range of 10,000 ports keeps others out up to its last port, and is given back whole."""
    do(store, PutInterface(interface("a", 2, mapping(10000, count=10000))))
    assert isinstance(refused(store, PutInterface(interface("b", 3, mapping(19999, "::1")))), Conflict)
    do(store, DropInterface("a"))
    do(store, PutInterface(interface("b", 3, mapping(19999, "::1"))))


def test_drop_is_idempotent(store: Store) -> None:
    """Dropping tells whether there was one, and a second time is no error."""
    do(store, PutInterface(interface("a", 2, mapping(80))))
    assert do(store, DropInterface("a"), DropInterface("a")) == (True, False)
    assert store.interfaces() == store.addresses("net") == store.ports("tcp") == []


def test_last_of_each_kind(store: Store) -> None:
    """The most recent address and port are those put last, an update moving ports only."""
    assert store.last_address("net") is store.last_port("tcp", 1, 65535) is None
    do(store, PutInterface(interface("a", 9, mapping(49160))))
    do(store, PutInterface(interface("b", 5, mapping(80), mapping(49153, count=3), ipv6="fd00::5")))
    assert (store.last_address("net"), store.last_address("net", 6)) == ("10.0.42.5", "fd00::5")
    assert store.last_port("tcp", 49153, 65535) == 49155
    do(store, PutInterface(interface("a", 9, mapping(49160), mapping(49159))))
    assert store.last_address("net") == "10.0.42.5"
    assert store.last_port("tcp", 49153, 65535) == 49159
    assert store.last_port("udp", 49153, 65535) is None


def test_quarantine_is_kept_until_taken(store: Store) -> None:
    """Addresses rest when asked to, and no longer once somebody holds them."""
    later = time.time() + 60
    do(store, PutInterface(interface("a", 2, ipv6="fd00::2")), PutInterface(interface("b", 3)))
    do(store, DropInterface("a", later), DropInterface("b"))
    assert store.quarantined("net") == [("10.0.42.2", later), ("fd00::2", later)]
    do(store, PutInterface(interface("c", 2)))
    assert store.quarantined("net") == [("fd00::2", later)]
    do(store, DropInterface("c"), DropNetwork("net"))
    assert store.quarantined("net") == []


def test_many_are_read_by_few_queries(store: Store) -> None:
    """Of 1,000 ids those that there are come back, each once, from a query for some hundreds of them."""
    put = [interface(f"i{last}", last) for last in range(2, 12)]
    do(store, *map(PutInterface, put))
    asked = [each.id for each in put] * 2 + [f"none{number}" for number in range(1000)]
    queries: list[str] = []
    store._connection.set_trace_callback(queries.append)
    found = store.some(asked)
    store._connection.set_trace_callback(None)
    assert sorted(found, key=lambda each: each.id) == sorted(put, key=lambda each: each.id)
    assert len(queries) == 2
