"""Values that MessagePack has and the maps of the contract have not."""

from __future__ import annotations

import random
from typing import Any

import msgpack
import pytest

from agents import AgentProcess
from contract.wire import Wire, refusal

pytestmark = pytest.mark.system

STAMP = b"\xff"
ODD: dict[str, bytes] = {
    "timestamp 32": b"\xd6" + STAMP + bytes(4),
    "timestamp 64": b"\xd7" + STAMP + b"\xff" * 8,
    "timestamp 96": b"\xc7\x0c" + STAMP + b"\xff" * 12,
    "empty timestamp": b"\xc7\x00" + STAMP,
    "odd timestamp": b"\xc7\x03" + STAMP + b"abc",
    "fixed timestamp of one": b"\xd4" + STAMP + b"a",
    "fixed timestamp of 16": b"\xd8" + STAMP + bytes(16),
    **{f"fixext {1 << power}": bytes([0xD4 + power, 5]) + bytes(1 << power) for power in range(5)},
    "empty ext": b"\xc7\x00\x05",
    "ext 8": b"\xc7\xff\x05" + bytes(255),
    "ext 16": b"\xc8\x01\x00\x7f" + bytes(256),
    "ext 32": b"\xc9\x00\x00\x00\x02\x80" + b"ab",
    "nan": msgpack.packb(float("nan")),
    "infinity": msgpack.packb(float("-inf")),
    "float": msgpack.packb(1.5),
    "float 32": b"\xca\x7f\xc0\x00\x00",
    "bin": msgpack.packb(b"web"),
    "nil": b"\xc0",
    "large": msgpack.packb(2**64 - 1),
    "not utf-8": b"\xa3a\xffb",
    "half a surrogate": b"\xa3\xed\xa0\x80",
    "map with an integer key": msgpack.packb({7: "a"}),
    "map with a nil key": msgpack.packb({None: "a"}),
    "map with a key twice": b"\x82\xa1a\xc0\xa1a\xc0",
    "map with a list as key": b"\x81\x90\xc0",
    "map with a map as key": b"\x81\x80\xc0",
    "map with a timestamp as key": b"\x81\xd6" + STAMP + bytes(4) + b"\xc0",
}
PLACES: dict[str, tuple[str, bytes]] = {
    "a value": ("inspect", b"\x91\x81\xa2id%s"),
    "a key": ("inspect", b"\x91\x82\xa2id\xa3web%s\xa1a"),
    "a label": ("allocate", b"\x91\x81\xa6labels\x81\xa1a%s"),
    "the key of a label": ("allocate", b"\x91\x81\xa6labels\x81%s\xa1a"),
    "the labels": ("allocate", b"\x91\x81\xa6labels%s"),
    "a port": ("publish", b"\x91\x82\xa2id\xa3web\xa5ports\x91%s"),
    "a number": ("create_network", b"\x91\x82\xa4name\xa3net\xa3mtu%s"),
    "a flag": ("create_network", b"\x91\x82\xa4name\xa3net\xa8internal%s"),
    "a request": ("release", b"\x91\x82\xa2id\xa3web\xa7request%s"),
    "a path": ("attach", b"\x91\x82\xa2id\xa3web\xa5netns%s"),
    "the map": ("inspect", b"\x91%s"),
    "deep inside": ("allocate", b"\x91\x81\xa5ports\x91\x91\x81\xa1a\x91%s"),
}

FRAMES = (
    b"%s",
    b"\x94%s\x07\xa5hello\x90",
    b"\x94\x00%s\xa5hello\x90",
    b"\x94\x00\x07%s\x90",
    b"\x94\x00\x07\xa5hello%s",
    b"\x93\x02%s\x90",
    b"\x93\x02\xa5hello%s",
)
"""Frames with one part left open that cannot be just anything."""


def frame(kind: int, method: str, params: bytes) -> bytes:
    """A request with id 7, or a notification."""
    name = msgpack.packb(method)
    return b"\x94\x00\x07" + name + params if kind == 0 else b"\x93\x02" + name + params


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("place", PLACES)
def test_an_odd_value_is_answered_invalid(wire: Wire, place: str, odd: str) -> None:
    """Anywhere inside the parameters it is `invalid`, and the connection goes on; by notification nothing is said."""
    method, template = PLACES[place]
    params = template.replace(b"%s", ODD[odd])
    wire.send_bytes(frame(2, method, params) + frame(0, method, params))
    kind, msgid, error, result = wire.receive()
    assert (kind, msgid) == (1, 7)
    assert refusal(error, result).startswith("invalid: ")
    assert wire.call("list") == []


@pytest.mark.parametrize("odd", ["timestamp 32", "odd timestamp", "ext 8", "not utf-8", "nan", "bin"])
@pytest.mark.parametrize("template", FRAMES, ids=repr)
def test_where_the_frame_needs_something_else_it_is_none(
    memory_agent: AgentProcess, wire: Wire, template: bytes, odd: str
) -> None:
    """As message type, id, method, parameters or the frame itself it ends its own connection, and no other."""
    with Wire(memory_agent.socket) as other:
        other.send_bytes(template.replace(b"%s", ODD[odd]))
        with pytest.raises(EOFError):
            other.receive()
    assert wire.call("list") == []


def test_whatever_the_values_each_request_is_answered(wire: Wire) -> None:
    """Of 2,000 well-formed requests with odd values drawn anywhere each has its answer, and none breaks the agent."""
    chance = random.Random(2013)
    methods = ["allocate", "publish", "unpublish", "inspect", "create_network", "subscribe", "why", "list"]
    for number in range(2000):
        params = b"\x91" + drawn_map(chance, 3)
        wire.send_bytes(b"\x94\x00" + plain(number) + plain(chance.choice(methods)) + params)
        while (answer := wire.receive())[0] == 2:
            pass
        kind, msgid, error, _result = answer
        assert (kind, msgid) == (1, number)
        assert error is None or error[0] == 1, (params, error)


KEYS = ("id", "ports", "labels", "name", "netns", "network", "events", "port", "mtu", "request", "subnet")


def drawn(chance: random.Random, depth: int) -> bytes:
    """A value of any kind."""
    kind = chance.randrange(6 if depth else 4)
    if kind < 3:
        return chance.choice(list(ODD.values()))
    if kind == 3:
        return plain(chance.choice(("web", "80", "", "\0", 7, True, None, -1)))
    if kind == 4:
        count = chance.randrange(4)
        return bytes([0x90 + count]) + b"".join(drawn(chance, depth - 1) for _ in range(count))
    return drawn_map(chance, depth - 1)


def drawn_map(chance: random.Random, depth: int) -> bytes:
    """A map with some of the contract's keys."""
    count = chance.randrange(4)
    pairs = [
        (plain(chance.choice(KEYS)) if chance.random() < 0.9 else drawn(chance, 0)) + drawn(chance, depth)
        for _ in range(count)
    ]
    return bytes([0x80 + count]) + b"".join(pairs)


def plain(value: Any) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed
