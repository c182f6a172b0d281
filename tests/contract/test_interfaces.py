"""Allocating and releasing over the wire: ids, addresses, repeats, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest

from contract.wire import Wire

pytestmark = pytest.mark.system


@pytest.mark.parametrize("id", ["w", "7", "a.b_c-D", "Z" * 128, "0" * 64])
def test_ids_that_are_taken(wire: Wire, id: str) -> None:
    """An id is 1 to 128 of letters, digits, dot, underscore and dash, and is given back as it was."""
    assert wire.call("allocate", id=id)["id"] == id
    assert wire.call("inspect", id=id)["id"] == id


@pytest.mark.parametrize("id", ["", "Z" * 129, ".a", "-a", "_a", "a/b", "a b", "é", "a\n", "a\0", "٣"])
def test_ids_that_are_refused(wire: Wire, id: str) -> None:
    """Any other id is invalid, for every method that takes one, and nothing is made."""
    for method in ("allocate", "inspect", "release", "detach", "unpublish"):
        assert wire.refused(method, id=id).startswith("invalid: ")
    assert wire.call("list") == []


def test_the_agent_makes_an_id(wire: Wire) -> None:
    """Without an id the agent makes one that follows the rule and is another each time."""
    ids = {wire.call("allocate")["id"] for _ in range(3)}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", each) for each in ids)


def test_addresses_asked_for_are_given(wire: Wire) -> None:
    """`ip` and `mac` are given as asked for, the MAC in lower case."""
    web = wire.call("allocate", id="web", ip="10.0.42.77", mac="02:AB:CD:00:00:01")
    assert (web["ip"], web["mac"]) == ("10.0.42.77", "02:ab:cd:00:00:01")


@pytest.mark.parametrize(
    ("asked", "code", "named"),
    [
        ({"ip": "10.0.42.200"}, "address_in_use", "holder"),
        ({"ip": "10.0.42.1"}, "invalid", "10.0.42.1"),
        ({"ip": "10.0.42.0"}, "invalid", "10.0.42.0"),
        ({"ip": "10.0.42.255"}, "invalid", "10.0.42.255"),
        ({"ip": "10.0.43.2"}, "invalid", "10.0.43.2"),
        ({"ip": "10.0.42"}, "invalid", "10.0.42"),
        ({"ipv6": "fd43::2"}, "invalid", "fd43::2"),
        ({"mac": "01:00:5e:00:00:01"}, "invalid", "01:00:5e:00:00:01"),
        ({"network": "ghost"}, "not_found", "ghost"),
        ({"network": "a" * 64}, "invalid", "network"),
        ({"ports": ["8080:80"]}, "port_in_use", "holder"),
        ({"ports": ["80", "4503/tcpgarbage"]}, "invalid", "tcpgarbage"),
        ({"netns": "/run/netns/x"}, "unsupported", "/run/netns/x"),
        ({"netns": "x", "ifname": "a/b"}, "invalid", "a/b"),
        ({"netns": "x", "ifname": "x" * 16}, "invalid", "ifname"),
        ({"ifname": "eth0"}, "invalid", "netns"),
        ({"labels": {"a": 1}}, "invalid", "labels"),
        ({"labels": {str(each): "" for each in range(300)}}, "invalid", "300"),
        ({"request": ""}, "invalid", "request"),
    ],
)
def test_a_refused_allocation_changes_nothing(
    wire: Wire, asked: dict[str, Any], code: str, named: str
) -> None:
    """A refusal has its code and names what it is about; afterwards everything is as before."""
    wire.call("allocate", id="holder", ip="10.0.42.200", ports=["8080:80"])
    before = wire.call("list")
    text = wire.refused("allocate", id="web", **asked)
    assert text.startswith(f"{code}: ")
    assert named in text
    assert wire.call("list") == before
    assert "interface:web" not in [each["name"] for each in wire.call("tree")]


def test_allocating_again(wire: Wire) -> None:
    """An id that exists is given when all that is asked for is already so, and else is refused with `exists`."""
    web = wire.call("allocate", id="web", ip="10.0.42.9", ports=["8080:80", "53/udp"], labels={"a": "b"})
    same: dict[str, Any]
    for same in (
        {},
        {"network": "default"},
        {"ip": "10.0.42.9", "mac": web["mac"]},
        {"labels": {"a": "b"}},
        {"ports": ["53/udp", "8080:80"]},
        {"ports": ["80"]},
    ):
        assert wire.call("allocate", id="web", **same) == web
    for other in (
        {"ip": "10.0.42.10"},
        {"labels": {"a": "c"}},
        {"ports": ["8081:80"]},
        {"ports": ["53/udp", "53/udp"]},
        {"mac": "02:00:00:00:00:01"},
    ):
        assert wire.refused("allocate", id="web", **other).startswith("exists: ")
    assert wire.call("list") == [web]


@pytest.mark.parametrize(
    ("method", "more"),
    [("inspect", {}), ("publish", {"ports": ["80"]}), ("unpublish", {}), ("detach", {})],
)
def test_what_is_not_there_is_not_found(wire: Wire, method: str, more: dict[str, Any]) -> None:
    """A method on an interface that does not exist is `not_found`, naming it."""
    text = wire.refused(method, id="ghost", **more)
    assert text.startswith("not_found: ")
    assert "ghost" in text


def test_detaching_what_is_not_attached_changes_nothing(wire: Wire) -> None:
    """`detach` of an interface that is nowhere gives it as it is."""
    web = wire.call("allocate", id="web")
    assert wire.call("detach", id="web") == web


def test_list_is_of_one_network_or_all(wire: Wire) -> None:
    """`list` with a network gives its interfaces, and refuses one that does not exist."""
    wire.call("create_network", name="back", subnet="10.0.43.0/24")
    web, db = wire.call("allocate", id="web"), wire.call("allocate", id="db", network="back")
    assert wire.call("list", network="default") == [web]
    assert wire.call("list", network="back") == [db]
    assert sorted(each["id"] for each in wire.call("list")) == ["db", "web"]
    assert wire.refused("list", network="ghost").startswith("not_found: ")


def test_addresses_can_be_exhausted(wire: Wire) -> None:
    """A network with no address left says so, and gives the one that is released."""
    wire.call("create_network", name="tiny", subnet="10.0.43.0/30")
    assert wire.call("allocate", id="a", network="tiny")["ip"] == "10.0.43.2"
    text = wire.refused("allocate", id="b", network="tiny")
    assert text.startswith("addresses_exhausted: ")
    assert "10.0.43.0/30" in text
    wire.call("release", id="a")
    assert wire.call("allocate", id="b", network="tiny")["ip"] == "10.0.43.2"


REPEATED = [
    ("allocate", {"id": "db", "ports": ["80"]}),
    ("allocate", {"ports": ["80"]}),
    ("detach", {"id": "web"}),
    ("publish", {"id": "web", "ports": ["81"]}),
    ("unpublish", {"id": "web"}),
    ("release", {"id": "web"}),
    ("release", {"id": "ghost"}),
    ("create_network", {"name": "back"}),
    ("remove_network", {"name": "ghost"}),
]


@pytest.mark.parametrize(("method", "params"), REPEATED)
def test_a_repeat_gets_the_first_answer(wire: Wire, method: str, params: dict[str, Any]) -> None:
    """A request repeated with its string gets the first answer, and takes nothing twice."""
    request = f"repeat-{method}-{len(params)}-{params.get('id')}"
    wire.call("allocate", id="web", ports=["8080:80"])
    first = wire.call(method, **params, request=request)
    after = wire.call("list"), wire.call("networks")
    assert wire.call(method, **params, request=request) == first
    assert (wire.call("list"), wire.call("networks")) == after


def test_a_repeat_is_answered_after_a_release(wire: Wire) -> None:
    """The first answer is given even when what it told of is gone, and nothing is made again."""
    first = wire.call("allocate", id="web", request="after-release")
    wire.call("release", id="web")
    assert wire.call("allocate", id="web", request="after-release") == first
    assert wire.call("list") == []


def test_a_request_string_is_for_one_request(wire: Wire) -> None:
    """The same string with another method or other parameters is refused with `exists`."""
    wire.call("allocate", id="web", request="one")
    for method, params in (
        ("allocate", {"id": "db"}),
        ("allocate", {"id": "web", "ports": ["80"]}),
        ("allocate", {}),
        ("release", {"id": "web"}),
        ("remove_network", {"name": "default"}),
    ):
        assert wire.refused(method, **params, request="one").startswith("exists: ")
    assert [each["id"] for each in wire.call("list")] == ["web"]


def test_a_refused_request_may_be_tried_again(wire: Wire) -> None:
    """A refusal is not remembered: the same string is done once it can be."""
    wire.call("allocate", id="web", ports=["8080:80"])
    asked = {"id": "db", "ports": ["8080:80"], "request": "again"}
    assert wire.refused("allocate", **asked).startswith("port_in_use: ")
    wire.call("unpublish", id="web")
    assert wire.call("allocate", **asked)["ports"][0]["host_port"] == 8080
