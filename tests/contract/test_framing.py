"""Frames on the socket: what is answered, what is not, and what ends a connection."""

from __future__ import annotations

import re
import stat
from typing import Any

import msgpack
import pytest

from agents import AgentProcess, until
from contract.wire import PATIENCE, Wire, refusal

pytestmark = pytest.mark.system


def test_the_socket_has_its_mode(memory_agent: AgentProcess) -> None:
    """The socket's file is read and written by its user and group alone."""
    assert stat.S_IMODE(memory_agent.socket.stat().st_mode) == 0o660


@pytest.mark.parametrize("msgid", [0, 1, 0x7F, 0x80, 2**16, 2**32 - 1])
def test_a_response_has_the_id_of_its_request(wire: Wire, msgid: int) -> None:
    """A response is an array of four that begins with 1 and the request's id, at any size of it."""
    wire.send([0, msgid, "networks", []])
    kind, answered, error, result = wire.receive()
    assert (kind, answered, error, type(result)) == (1, msgid, None, list)


@pytest.mark.parametrize("params", [[], [{}]])
def test_params_are_empty_or_hold_a_map(wire: Wire, params: list[Any]) -> None:
    """A method without parameters takes no map or an empty one."""
    error, result = wire.ask("hello", params)
    assert (error, result["name"]) == (None, "moorage")


@pytest.mark.parametrize(
    ("method", "params", "code", "named"),
    [
        ("hello", [{}, {}], "invalid", "one map"),
        ("hello", [None], "invalid", "one map"),
        ("hello", ["web"], "invalid", "one map"),
        ("hello", [{"verbose": True}], "invalid", "verbose"),
        ("allocate", [{"id": "web", "prots": ["80"]}], "invalid", "prots"),
        ("allocate", [{"id": "web", 7: "80"}], "invalid", "7"),
        ("allocate", [{"id": 7}], "invalid", "7"),
        ("allocate", [{"id": None}], "invalid", "id"),
        ("allocate", [{"id": b"web"}], "invalid", "id"),
        ("inspect", [], "invalid", "id"),
        ("publish", [{"id": "web"}], "invalid", "ports"),
        ("publish", [{"id": "web", "ports": "80"}], "invalid", "80"),
        ("attach", [{"id": "web"}], "invalid", "netns"),
        ("frobnicate", [], "unsupported", "frobnicate"),
        ("", [], "unsupported", ""),
        ("Hello", [], "unsupported", "Hello"),
        ("_call", [], "unsupported", "_call"),
    ],
)
def test_what_is_well_formed_but_wrong_is_answered(
    wire: Wire, method: str, params: list[Any], code: str, named: str
) -> None:
    """A wrong request is refused with its code and the offending token, and the connection goes on."""
    text = refusal(*wire.ask(method, params))
    assert text.startswith(f"{code}: ")
    assert named in text
    assert wire.call("list") == []


@pytest.mark.parametrize(
    "frame",
    [
        [0, 1, "hello", {}],
        [0, 1, "hello", None],
        [0, 1, 7, []],
        [0, 1, b"hello", []],
        [0, -1, "hello", []],
        [0, 2**32, "hello", []],
        [0, "1", "hello", []],
        [0, 1, "hello"],
        [0, 1, "hello", [], []],
        [1, 1, None, None],
        [2, "hello"],
        [2, 7, []],
        [2, "hello", {}],
        [3, "hello", []],
        [],
        {},
        "hello",
        7,
        None,
        msgpack.ExtType(5, b"x"),
    ],
    ids=repr,
)
def test_what_is_no_messagepack_rpc_closes_its_own_connection(
    memory_agent: AgentProcess, wire: Wire, frame: Any
) -> None:
    """A frame that is not MessagePack-RPC ends its connection without a word, and no other."""
    with Wire(memory_agent.socket) as other:
        other.send(frame)
        with pytest.raises(EOFError):
            other.receive()
    assert wire.call("list") == []


def test_bytes_that_are_no_messagepack_close_their_connection(memory_agent: AgentProcess, wire: Wire) -> None:
    """The byte that MessagePack never uses, and a string that is not UTF-8, are no frame."""
    for data in (b"\xc1", b"\x94\x00\x01\xa1\xff\x90"):
        with Wire(memory_agent.socket) as other:
            other.send_bytes(data)
            with pytest.raises(EOFError):
                other.receive()
    assert wire.call("list") == []


def test_requests_before_a_bad_frame_are_done(memory_agent: AgentProcess, wire: Wire) -> None:
    """What was asked before the frame that ends the connection is done all the same."""
    with Wire(memory_agent.socket) as other:
        other.send([2, "allocate", [{"id": "before"}]], "hello")
        with pytest.raises(EOFError):
            other.receive()
    until(lambda: wire.call("list"), PATIENCE)
    assert wire.call("inspect", id="before")["id"] == "before"


def test_a_notification_is_done_and_not_answered(wire: Wire) -> None:
    """A notification does what the request would; nothing comes back for it, also when it is refused."""
    wire.send([2, "allocate", [{"id": "quiet"}]], [2, "nonsense", []], [2, "inspect", [{"id": "ghost"}]])
    until(lambda: wire.call("list"), PATIENCE)
    assert [each["id"] for each in wire.call("list")] == ["quiet"]


def test_requests_may_be_pipelined(wire: Wire) -> None:
    """256 requests sent before the first answer is read are all answered, each once."""
    frames = [[0, number, "allocate", [{"id": f"c{number}"}]] for number in range(200)]
    wire.send(*frames, *([0, number, "hello", []] for number in range(200, 256)))
    answers = [wire.receive() for _ in range(256)]
    assert sorted(answer[1] for answer in answers) == list(range(256))
    assert all(answer[2] is None for answer in answers)
    assert len({answer[3]["ip"] for answer in answers if answer[1] < 200}) == 200


def test_past_its_limit_the_agent_reads_on_when_it_has_answered(wire: Wire) -> None:
    """Many more requests than may be outstanding are answered all the same."""
    wire.send(*([0, number, "hello", []] for number in range(3000)))
    assert {wire.receive()[1] for _ in range(3000)} == set(range(3000))


def test_a_frame_may_come_in_pieces(wire: Wire) -> None:
    """How bytes are split does not matter."""
    for byte in msgpack.packb([0, 9, "hello", []]):
        wire.send_bytes(bytes([byte]))
    assert wire.receive()[1] == 9


def test_nothing_is_sent_unasked(memory_agent: AgentProcess, wire: Wire) -> None:
    """Who has not subscribed is told of no event."""
    with Wire(memory_agent.socket) as other:
        other.call("allocate", id="web", ports=["80"])
        other.call("release", id="web")
    assert wire.ask("list", []) == (None, [])


def test_numbers_and_times_fit(wire: Wire) -> None:
    """Times are RFC 3339 in UTC, and numbers are integers that every client's 64 bits hold."""
    rfc3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"
    web = wire.call("allocate", id="web", ports=["80"])
    hello, status, tree = (wire.call(method) for method in ("hello", "status", "tree"))
    for time in (web["created"], hello["started"], status["started"], *(each["since"] for each in tree)):
        assert re.fullmatch(rfc3339, time)
    for number in (*(value for value in status.values() if type(value) is int), hello["pid"]):
        assert 0 <= number < 2**63
