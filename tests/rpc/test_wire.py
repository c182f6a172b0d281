"""Values on the wire: as they are documented, and the same when they come back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moorage.errors import Code, Fault, Refused
from moorage.rpc.wire import (
    error_from_wire,
    error_to_wire,
    interface_from_wire,
    interface_to_wire,
    mapping_to_wire,
    network_to_wire,
    status_from_wire,
    status_to_wire,
    value_from_wire,
    values_from_wire,
)
from moorage.values import ANY, Interface, Mapping, Network, Status

WEB = Interface(
    id="web",
    network="default",
    ip="10.0.42.2",
    prefix=24,
    gateway="10.0.42.1",
    mac="02:42:0a:00:2a:02",
    created="2026-01-01T00:00:00Z",
    ports=(Mapping("tcp", ANY, 49153, 80, dual=True), Mapping("udp", "::1", 8000, 9000, 10)),
    labels={"app": "web"},
    netns_cookie=7,
)
WEB_MAP = {
    "id": "web",
    "network": "default",
    "ip": "10.0.42.2",
    "prefix": 24,
    "gateway": "10.0.42.1",
    "mac": "02:42:0a:00:2a:02",
    "netns": None,
    "ifname": None,
    "ports": [
        {"proto": "tcp", "host_ip": ANY, "host_port": 49153, "container_port": 80, "count": 1},
        {"proto": "udp", "host_ip": "::1", "host_port": 8000, "container_port": 9000, "count": 10},
    ],
    "labels": {"app": "web"},
    "created": "2026-01-01T00:00:00Z",
}
BACK = Network("back", "br-back", "10.0.42.0/24", "10.0.42.1", adopted=True)
BACK_MAP = {
    "name": "back",
    "bridge": "br-back",
    "subnet": "10.0.42.0/24",
    "gateway": "10.0.42.1",
    "internal": False,
    "mtu": 1500,
}


def test_an_interface_without_ipv6_has_no_such_keys() -> None:
    """An interface is the documented map: nil while not attached, and nothing internal."""
    assert interface_to_wire(WEB) == WEB_MAP


def test_an_interface_with_ipv6_has_them() -> None:
    """The three IPv6 keys come with IPv6."""
    both = replace(WEB, ipv6="fd00::2", prefix6=64, gateway6="fd00::1")

    assert interface_to_wire(both) == WEB_MAP | {"ipv6": "fd00::2", "prefix6": 64, "gateway6": "fd00::1"}


def test_an_interface_comes_back_without_what_is_internal() -> None:
    """What was sent is what is read, but for what stays in the agent; unknown keys are passed over."""
    read = interface_from_wire(interface_to_wire(WEB) | {"colour": "blue"})

    assert read == replace(WEB, netns_cookie=0, ports=tuple(replace(each, dual=False) for each in WEB.ports))


def test_a_network_is_the_documented_map() -> None:
    """A network has its IPv6 keys with IPv6 only, and comes back."""
    six = {"subnet6": "fd00::/64", "gateway6": "fd00::1"}

    assert network_to_wire(BACK) == BACK_MAP
    assert network_to_wire(replace(BACK, **six)) == BACK_MAP | six
    assert values_from_wire(Network, [BACK_MAP]) == [replace(BACK, adopted=False)]


def test_what_is_as_ever_looks_as_ever() -> None:
    """A source and a proxy are on the wire where they are not the default, and come back; without, they are it."""
    mapping, network = (
        Mapping("tcp", ANY, 8080, 80, source="proxy-v2"),
        replace(BACK, adopted=False, proxy="never"),
    )

    assert mapping_to_wire(mapping) == mapping_to_wire(replace(mapping, source="gateway")) | {
        "source": "proxy-v2"
    }
    assert value_from_wire(Mapping, mapping_to_wire(mapping)) == mapping
    assert network_to_wire(network) == BACK_MAP | {"proxy": "never"}
    assert value_from_wire(Network, network_to_wire(network)) == network


@pytest.mark.parametrize("code", Code)
def test_refusals_come_back(code: Code) -> None:
    """A refusal is `[1, "code: text"]` and is read as the same refusal, colons in its text included."""
    wire = error_to_wire(Refused(code, "port 80: taken by pid 812 (nginx)"))

    assert wire == [1, f"{code}: port 80: taken by pid 812 (nginx)"]
    read = error_from_wire(wire)
    assert isinstance(read, Refused)
    assert (read.code, read.text) == (code, "port 80: taken by pid 812 (nginx)")


def test_faults_come_back() -> None:
    """A fault is `[0, "internal: text"]` and is read as a Fault."""
    assert error_to_wire(Fault("the journal died")) == [0, "internal: the journal died"]
    read = error_from_wire([0, "internal: the journal died"])
    assert isinstance(read, Fault)
    assert str(read) == "the journal died"


def test_a_code_of_a_newer_agent_is_still_a_refusal() -> None:
    """An unknown code says that nothing was done, in the agent's own words."""
    read = error_from_wire([1, "too_late: the moon has set"])

    assert isinstance(read, Refused)
    assert read.text == "too_late: the moon has set"


@pytest.mark.parametrize("error", ["text", 7, [1], [1, 2], {"code": 1}, []])
def test_an_error_of_another_shape_is_a_fault(error: Any) -> None:
    """An error that is not documented leaves the outcome unknown."""
    assert isinstance(error_from_wire(error), Fault)


@pytest.mark.parametrize("answer", [None, [], "web", {}, {"id": "web"}, WEB_MAP | {"ports": 1}])
def test_an_answer_of_another_shape_is_a_fault(answer: Any) -> None:
    """A result that is no interface is a Fault, not a TypeError."""
    with pytest.raises(Fault):
        interface_from_wire(answer)
    with pytest.raises(Fault):
        values_from_wire(Mapping, answer if answer != [] else None)
    with pytest.raises(Fault):
        value_from_wire(Network, answer)


def test_a_status_comes_back_as_it_went() -> None:
    """A status keeps its warnings as an array of texts; an agent that sends none of them is understood."""
    status = Status(1, 2, 3, 4, "linux", 5, 6, "now", ("one", "two"))
    told = status_to_wire(status)
    assert told["warnings"] == ["one", "two"]
    assert status_from_wire(told) == status
    del told["warnings"]
    assert status_from_wire(told) == replace(status, warnings=())
