"""Publishing over the wire: specs, automatic ports, holders, and taking back."""

from __future__ import annotations

import os
from contextlib import closing
from typing import Any

import pytest

from agents import AgentProcess
from contract.wire import Wire

pytestmark = pytest.mark.system

FIRST, LAST = 49153, 65535
ANY = "0.0.0.0"  # noqa: S104 - what the agent says, not an address bound


def told(interface: dict[str, Any]) -> list[tuple[Any, ...]]:
    keys = ("host_ip", "host_port", "container_port", "proto", "count")
    return [tuple(mapping[key] for key in keys) for mapping in interface["ports"]]


@pytest.mark.parametrize(
    ("spec", "mapping"),
    [
        ("4500", (ANY, None, 4500, "tcp", 1)),
        (":4501", (ANY, 4501, 4501, "tcp", 1)),
        ("4502:4503", (ANY, 4502, 4503, "tcp", 1)),
        ("4502:4503/tcp", (ANY, 4502, 4503, "tcp", 1)),
        ("4502:4503/udp", (ANY, 4502, 4503, "udp", 1)),
        ("0:80", (ANY, None, 80, "tcp", 1)),
        ("127.0.0.1:8080:80", ("127.0.0.1", 8080, 80, "tcp", 1)),
        ("127.0.0.1::80", ("127.0.0.1", None, 80, "tcp", 1)),
        ("[::1]:8080:80/udp", ("::1", 8080, 80, "udp", 1)),
        ("8000-8009:9000-9009/udp", (ANY, 8000, 9000, "udp", 10)),
        ("9000-9009", (ANY, None, 9000, "tcp", 10)),
        ("0.0.0.0:8080:80", (ANY, 8080, 80, "tcp", 1)),
        ("[::]:8080:80", ("::", 8080, 80, "tcp", 1)),
        ("0080:0081", (ANY, 80, 81, "tcp", 1)),
    ],
)
def test_every_form_of_spec_is_published(wire: Wire, spec: str, mapping: tuple[Any, ...]) -> None:
    """Each documented form makes the documented mapping; an automatic port is one of the range."""
    [made] = told(wire.call("allocate", id="web", ports=[spec]))
    if mapping[1] is None:
        assert FIRST <= made[1] <= made[1] + made[4] - 1 <= LAST
        made = (made[0], None, *made[2:])
    assert made == mapping


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("", "''"),
        ("65536", "65536"),
        ("0", "'0'"),
        ("70000:80", "70000"),
        ("-1", "-1"),
        ("+80", "+80"),
        (" 80", " 80"),
        ("8 0", "8 0"),
        ("0x50", "0x50"),
        ("٨٠", "٨٠"),
        ("1:2:3", "'1'"),
        ("80:", "80:"),
        ("4503/", "4503/"),
        ("4503/tcp/udp", "tcp/udp"),
        ("4503/tcpgarbage", "tcpgarbage"),
        ("4503/TCP", "TCP"),
        ("9009-9000", "9009-9000"),
        ("8000-8001:9000-9002", "8000-8001"),
        ("300.0.0.1:80:80", "300.0.0.1"),
        ("localhost:80:80", "localhost"),
        ("[::g]:80:80", "[::g]"),
    ],
)
def test_every_bad_spec_is_refused(wire: Wire, spec: str, named: str) -> None:
    """A bad spec is invalid and named, wherever specs are taken, and what stands beside it is not done."""
    web = wire.call("allocate", id="web")
    for method, id in (("publish", "web"), ("unpublish", "web"), ("allocate", "db")):
        text = wire.refused(method, id=id, ports=["8080:80", spec])
        assert text.startswith("invalid: ")
        assert named in text
    assert wire.call("list") == [web]


def test_automatic_ports_are_given_in_turn(wire: Wire) -> None:
    """Automatic ports follow each other per protocol; one given back is not the next."""
    first = wire.call("allocate", id="a", ports=["80"])["ports"][0]["host_port"]
    wire.call("release", id="a")
    after = [wire.call("allocate", id=f"b{each}", ports=["80"])["ports"][0]["host_port"] for each in range(2)]
    assert after == [first + 1, first + 2]


def test_publishing_again(wire: Wire) -> None:
    """A fixed port published again changes nothing, an automatic one takes another."""
    web = wire.call("allocate", id="web", ports=["8080:80", "81"])
    assert wire.call("publish", id="web", ports=["8080:80"]) == web
    assert len(wire.call("publish", id="web", ports=["81"])["ports"]) == 3


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("8080:80", "8080:80"),
        ("8080:80", "127.0.0.1:8080:80"),
        ("127.0.0.1:8080:80", "8080:80"),
        ("8080:80", "[::1]:8080:80"),
        ("[::1]:8080:80", "8080:80"),
        ("127.0.0.1:8080:80", "0.0.0.0:8080:80"),
        ("8000-8009:80-89", "8005:80"),
        ("8005:80", "8000-8009:80-89"),
    ],
)
def test_a_port_that_another_interface_has_names_it(wire: Wire, held: str, asked: str) -> None:
    """Mappings that share an address and a port collide both ways, and the holder's id is named."""
    wire.call("allocate", id="the-holder", ports=[held])
    text = wire.refused("allocate", id="web", ports=[asked])
    assert text.startswith("port_in_use: ")
    assert "the-holder" in text


@pytest.mark.parametrize(
    ("held", "asked"),
    [
        ("8080:80", "8080:80/udp"),
        ("127.0.0.1:8080:80", "127.0.0.2:8080:80"),
        ("127.0.0.1:8080:80", "[::1]:8080:80"),
        ("0.0.0.0:8080:80", "[::]:8080:80"),
        ("8000-8009:80-89", "8010:80"),
    ],
)
def test_ports_that_do_not_meet_are_both_had(wire: Wire, held: str, asked: str) -> None:
    """Another protocol, address or family is no collision."""
    wire.call("allocate", id="db", ports=[held])
    assert wire.call("allocate", id="web", ports=[asked])["ports"]


@pytest.mark.parametrize("method", ["allocate", "publish"])
def test_specs_of_one_request_that_collide_are_refused(wire: Wire, method: str) -> None:
    """Two specs of one request for one host port are refused, and neither is published."""
    wire.call("allocate", id="web")
    id = "web" if method == "publish" else "db"
    for ports in (["8080:80", "8080:81"], ["8080:80", "127.0.0.1:8080:80"], ["8000-8009:80-89", "8005:80"]):
        assert wire.refused(method, id=id, ports=ports).startswith(("invalid: ", "port_in_use: "))
    assert wire.call("status")["mappings"] == 0


@pytest.mark.parametrize("proto", ["tcp", "udp"])
def test_a_foreign_process_is_named_with_its_pid(memory_agent: AgentProcess, wire: Wire, proto: str) -> None:
    """A port that somebody else of the host holds is refused, naming the process; nothing is left of it."""
    with closing(memory_agent.lab.echo_server("host", proto, 9000)):
        text = wire.refused("allocate", id="web", ports=[f"9001:80/{proto}", f"9000:80/{proto}"])
    assert text.startswith("port_in_use: ")
    assert f"pid {os.getpid()}" in text
    assert wire.call("list") == []
    assert wire.call("allocate", id="web", ports=[f"9001:80/{proto}", f"9000:80/{proto}"])["ports"]


def test_ports_can_be_exhausted(wire: Wire) -> None:
    """With no run of free ports left the answer is `ports_exhausted`, at once, and nothing is taken."""
    wire.call("allocate", id="web", ports=["1-16000"])
    text = wire.refused("allocate", id="db", ports=["1-16000"])
    assert text.startswith("ports_exhausted: ")
    assert "49153-65535" in text
    assert wire.call("allocate", id="db", ports=["80"])["ports"]


def test_unpublishing(wire: Wire) -> None:
    """A spec names the mappings it would have made, an automatic port any; without `ports` all go."""
    wire.call("allocate", id="web", ports=["8080:80", "80", "127.0.0.1::80", "53/udp", "8000-8009:9000-9009"])
    left = wire.call("unpublish", id="web", ports=["80"])
    assert [each[2] for each in told(left)] == [80, 53, 9000]
    assert told(left)[0][0] == "127.0.0.1"
    for spec in ("80", "9000", "8000:9000", "127.0.0.1::53/udp", "53", "8080:80"):
        text = wire.refused("unpublish", id="web", ports=["53/udp", spec])
        assert text.startswith("not_found: ")
        assert spec in text
    assert wire.call("inspect", id="web") == left
    assert len(wire.call("unpublish", id="web", ports=["9000-9009"])["ports"]) == 2
    assert wire.call("unpublish", id="web")["ports"] == []
    assert wire.call("unpublish", id="web")["ports"] == []


def test_a_port_given_back_can_be_had(wire: Wire) -> None:
    """What was unpublished or released is free for others at once."""
    wire.call("allocate", id="web", ports=["8080:80", "8081:81"])
    wire.call("unpublish", id="web", ports=["8080:80"])
    assert wire.call("allocate", id="db", ports=["8080:80"])["ports"]
    wire.call("release", id="web")
    assert wire.call("publish", id="db", ports=["8081:81"])["ports"]


def test_a_host_ip_that_the_host_has_not_is_refused(wire: Wire) -> None:
    """A mapping on an address that is not the host's is refused, naming it."""
    text = wire.refused("allocate", id="web", ports=["192.0.2.1:8080:80"])
    assert text.startswith("invalid: ")
    assert "192.0.2.1" in text
