"""Bytes that are no MessagePack-RPC, many of them."""

from __future__ import annotations

import gc
import os
import random
import tracemalloc
from typing import Any

import msgpack

from moorage.rpc.codec import Decoder, Limits, Message, ProtocolError

CASES = 1_000_000 if os.environ.get("MOORAGE_SOAK_MINUTES") else 20_000
SMALL = Limits(frame=4096, depth=16, values=512)
TRACED = CASES // 4
"""How many of them have their memory counted, which takes three times as long."""
BOUND = 1 << 20
"""Bytes for all: a frame of 4096 takes 5 KB at most, and errors wait for the garbage collector (0.4 MB seen)."""
HEADERS = [
    0xC1,
    0xC4,
    0xC6,
    0xC7,
    0xC9,
    0xCA,
    0xCB,
    0xCF,
    0xD3,
    0xD4,
    0xD8,
    0xD9,
    0xDB,
    0xDC,
    0xDD,
    0xDE,
    0xDF,
]
SEEDS: list[Any] = [
    [0, 1, "hello", []],
    [0, 2**32 - 1, "allocate", [{"id": "web", "ports": ["80"], "labels": {"a": "b" * 300}}]],
    [2, "release", [{"id": "x" * 200}]],
    [1, 5, None, {"a": [1, 2.5, float("nan"), -(2**63), 2**64 - 1]}],
    [0, 3, "x", [[[[[[[[]]]]]]]]],
    [0, 4, "inspect", [{"id": msgpack.Timestamp(1, 5), "x": msgpack.ExtType(5, b"y" * 9)}]],
]


def mutated(chance: random.Random) -> bytes:
    """A few frames with bytes changed, cut, doubled or headers of other types put in."""
    data = bytearray(b"".join(msgpack.packb(chance.choice(SEEDS)) for _ in range(chance.randint(1, 3))))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(data) + 1)
        match chance.randrange(5):
            case 0:
                data[at : at + 1] = bytes([chance.randrange(256)])
            case 1:
                data[at:at] = bytes([chance.choice(HEADERS)]) + chance.randbytes(chance.randint(0, 5))
            case 2:
                del data[at : at + chance.randint(1, 9)]
            case 3:
                data[at:at] = bytes([0x91]) * chance.randint(1, 40)
            case 4:
                data[at:at] = b"\xff" * chance.randint(1, 8)
    return bytes(data)


def read(pieces: list[bytes]) -> tuple[list[Message], bool]:
    """The messages, and whether the bytes were found to be none; raises whatever is no ProtocolError."""
    decoder, messages = Decoder(SMALL), []
    try:
        for piece in pieces:
            decoder.feed(piece)
            while (message := decoder.next_message()) is not None:
                messages.append(message)
    except ProtocolError:
        return messages, True
    return messages, False


def test_mutated_frames_raise_nothing_else() -> None:
    """Whatever the bytes, there are messages or a ProtocolError, the same however they are cut, in bounded memory."""
    chance = random.Random(2013)
    refused = sum(is_refused(chance) for _ in range(CASES - TRACED))
    gc.collect()
    tracemalloc.start()
    try:
        for number in range(TRACED):
            refused += is_refused(chance)
            if number % 500 == 0:
                gc.collect()
        assert tracemalloc.get_traced_memory()[1] < BOUND
    finally:
        tracemalloc.stop()
    assert CASES // 10 < refused < CASES


def is_refused(chance: random.Random) -> bool:
    """Whether some mutated bytes are no messages; they are the same messages however the bytes are cut."""
    data = mutated(chance)
    cut = chance.randrange(len(data) + 1)
    whole, parts = read([data]), read([data[:cut], data[cut:]])
    assert repr(whole) == repr(parts), data
    return whole[1]


def test_promises_cost_nothing() -> None:
    """Headers that promise gigabytes are refused before a byte of them has come."""
    for header in (b"\xdb", b"\xc6", b"\xdd", b"\xdf"):
        for start in (b"", b"\x94\x00\x01\xa5hello"):
            tracemalloc.start()
            assert read([start + header + b"\xff\xff\xff\xff"]) == ([], True)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert peak < BOUND
