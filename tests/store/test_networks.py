"""Networks, sysctls and reserved ports."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moorage.errors import Code, Refused
from moorage.store import (
    Conflict,
    DropNetwork,
    ForgetSysctls,
    PutInterface,
    PutNetwork,
    Remember,
    Reserve,
    Store,
    Unreserve,
)
from moorage.values import Network
from store.samples import do, interface, network, refused


def test_network_is_given_back_whole(store: Store) -> None:
    """Every field comes back as it was put, and networks come by name."""
    put = replace(network("a", 7), subnet6="fd00:7::/64", gateway6="fd00:7::1", internal=True, adopted=True)
    assert do(store, PutNetwork(put)) == (True,)
    assert store.network("a") == put
    assert store.network("b") is None
    assert store.networks() == [put, network()]


@pytest.mark.parametrize(
    ("new", "code", "word"),
    [
        (replace(network("net", 7)), Code.EXISTS, "network net exists"),
        (replace(network("new", 7), bridge="br42"), Code.EXISTS, "bridge br42"),
        (replace(network("new", 7), subnet="10.0.42.128/25"), Code.ADDRESS_IN_USE, "overlaps 10.0.42.0/24"),
        (replace(network("new", 7), subnet="10.0.0.0/8"), Code.ADDRESS_IN_USE, "overlaps 10.0.42.0/24"),
        (replace(network("new", 7), subnet6="fd00::/48"), Code.ADDRESS_IN_USE, "overlaps fd00:0:0:1::/64"),
    ],
)
def test_network_that_meets_another_names_it(store: Store, new: Network, code: Code, word: str) -> None:
    """A name, a bridge or a subnet that another network has is refused, naming that one."""
    do(store, DropNetwork("net"), PutNetwork(replace(network(), subnet6="fd00:0:0:1::/64")))
    error = refused(store, PutNetwork(new))
    assert isinstance(error, Conflict)
    assert (error.code, error.holder) == (code, "net")
    assert word in error.text
    assert [known.name for known in store.networks()] == ["net"]


def test_network_with_interfaces_stays(store: Store) -> None:
    """A network is dropped only when no interface is left, and a second time is no error."""
    do(store, *(PutInterface(interface(f"i{n}", n)) for n in range(2, 7)))
    error = refused(store, DropNetwork("net"))
    assert isinstance(error, Refused)
    assert error.code is Code.EXISTS
    assert "5 interfaces (i2, i3, i4, …)" in error.text
    assert do(store, PutNetwork(network("empty", 7)), DropNetwork("empty"), DropNetwork("empty")) == (
        True,
        True,
        False,
    )


def test_first_sysctl_value_stays(store: Store) -> None:
    """What a sysctl was before the first change is what is remembered, until it is forgotten."""
    assert do(store, Remember("net/a", "0"), Remember("net/a", "1"), Remember("net/b", "2 3")) == (
        True,
        False,
        True,
    )
    assert store.sysctls() == {"net/a": "0", "net/b": "2 3"}
    assert do(store, ForgetSysctls(("net/a", "net/c")), ForgetSysctls(("net/a",))) == (True, False)
    assert store.sysctls() == {"net/b": "2 3"}
    do(store, ForgetSysctls(("net/b",)))
    assert store.sysctls() == {}


def test_reserved_ports_are_a_set(store: Store) -> None:
    """Reserving twice counts once, and unreserving what is not reserved is no error."""
    assert do(store, Reserve((80, 443)), Reserve((443,)), Unreserve((80, 81)), Unreserve(())) == (
        True,
        False,
        True,
        False,
    )
    assert store.reserved() == {443}
