"""The codec: what it takes, what it refuses, and that neither depends on how bytes arrive."""

from __future__ import annotations

import struct
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.rpc.codec import (
    BadMap,
    BadValue,
    Decoder,
    Limits,
    Message,
    Notification,
    ProtocolError,
    Request,
    Response,
    encode,
)


def stamped(ext: bytes) -> bytes:
    """The same ext with the type of a timestamp, -1; its type was 0."""
    at = {0xC7: 2, 0xC8: 3, 0xC9: 5}.get(ext[0], 1)
    return ext[:at] + b"\xff" + ext[at + 1 :]


MSGIDS = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False)
    | TEXTS
    | st.binary(max_size=300),
    lambda inner: st.lists(inner, max_size=20) | st.dictionaries(TEXTS, inner, max_size=20),
    max_leaves=30,
)
PARAMS = st.lists(VALUES, max_size=2)
MESSAGES = (
    st.builds(Request, MSGIDS, TEXTS, PARAMS)
    | st.builds(Notification, TEXTS, PARAMS)
    | st.builds(Response, MSGIDS, VALUES, VALUES)
)
DEEP = Limits(depth=64)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def decode(*chunks: bytes, limits: Limits = DEEP) -> tuple[list[Message], str | None]:
    """All messages of a stream, and what ended it."""
    decoder, messages = Decoder(limits), []
    try:
        for chunk in chunks:
            decoder.feed(chunk)
            messages.extend(decoder)
    except ProtocolError as error:
        return messages, str(error)
    return messages, None


def decode_until_error(data: bytes) -> tuple[list[Message], str | None]:
    """As `decode`, a byte at a time, keeping the messages before an error."""
    decoder, messages = Decoder(DEEP), []
    for byte in data:
        decoder.feed(bytes([byte]))
        try:
            while (message := decoder.next_message()) is not None:
                messages.append(message)
        except ProtocolError as error:
            return messages, str(error)
    return messages, None


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(0), max_size=6))
def test_messages_survive_the_wire(messages: list[Message], cuts: list[int]) -> None:
    """What is encoded is decoded to the same messages, however the stream is cut."""
    data = b"".join(map(encode, messages))

    assert decode(*pieces(data, cuts)) == (messages, None)


@given(st.binary(max_size=200) | st.builds(lambda m, t: encode(m) + t, MESSAGES, st.binary(max_size=40)))
def test_garbage_has_one_reading(data: bytes) -> None:
    """Any bytes give the same messages and the same ProtocolError at once as one by one, and nothing else."""
    decoder, messages, error = Decoder(DEEP), [], None
    decoder.feed(data)
    try:
        while (message := decoder.next_message()) is not None:
            messages.append(message)
    except ProtocolError as caught:
        error = str(caught)

    assert (repr(messages), error) == tuple(
        repr(part) if isinstance(part, list) else part for part in decode_until_error(data)
    )


@given(VALUES)
def test_only_messages_pass(value: Any) -> None:
    """A MessagePack value is decoded to a message that encodes to it, or is refused."""
    messages, error = decode(msgpack.packb(value))

    assert len(messages) == (error is None)
    for message in messages:
        assert decode(encode(message)) == ([message], None)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(0, id="no array"),
        pytest.param({0: 1}, id="a map"),
        pytest.param([], id="nothing"),
        pytest.param([0, 1, "hello"], id="a request of three"),
        pytest.param([0, 1, "hello", [], 5], id="a request of five"),
        pytest.param([1, 1, None], id="a response of three"),
        pytest.param([2, "hello"], id="a notification of two"),
        pytest.param([3, 1, "hello", []], id="an unknown type"),
        pytest.param([False, 1, "hello", []], id="a boolean as type"),
        pytest.param([0.0, 1, "hello", []], id="a float as type"),
        pytest.param([0, -1, "hello", []], id="a negative id"),
        pytest.param([0, 2**32, "hello", []], id="an id of 33 bits"),
        pytest.param([0, True, "hello", []], id="a boolean as id"),
        pytest.param([0, 1.0, "hello", []], id="a float as id"),
        pytest.param([1, None, None, None], id="a response without id"),
        pytest.param([0, 1, b"hello", []], id="a method of bytes"),
        pytest.param([0, 1, None, []], id="no method"),
        pytest.param([0, 1, "hello", {}], id="params that are a map"),
        pytest.param([0, 1, "hello", None], id="params that are nil"),
        pytest.param([2, 7, []], id="a notification without method"),
        pytest.param([2, "hello", "params"], id="a notification whose params are a string"),
    ],
)
def test_what_is_not_messagepack_rpc_is_refused(frame: Any) -> None:
    """A whole frame of another shape raises ProtocolError."""
    assert decode(msgpack.packb(frame))[1]


@pytest.mark.parametrize(
    "params",
    [[1], [{}, {}], [None], [{b"id": 1}], [float("nan")], ["x" * 1000]],
    ids=repr,
)
def test_well_formed_but_wrong_params_are_a_request(params: list[Any]) -> None:
    """Params of the wrong content are for somebody else to answer."""
    messages, error = decode(encode(Request(1, "hello", params)))

    assert error is None
    assert repr(messages) == repr([Request(1, "hello", params)])


@pytest.mark.parametrize(
    ("packed", "reason"),
    [
        pytest.param(b"\x82\xa1a\x01\xa1a\x02", "twice", id="a key twice"),
        pytest.param(b"\x81\x91\x01\x02", "array", id="an array"),
        pytest.param(b"\x81\x80\x02", "map", id="a map"),
        pytest.param(b"\x81\x81\x01\x02\x03", "map", id="a map that is none itself"),
        pytest.param(b"\x81\x07\x02", "the key 7, which is no string", id="an integer"),
        pytest.param(b"\x81\xcf" + b"\xff" * 8 + b"\x02", "the key 18446744073709551615", id="64 bits"),
        pytest.param(b"\x81\xcb" + bytes(8) + b"\x02", "the key 0.0", id="a float"),
        pytest.param(b"\x81\xc3\x02", "the key True", id="true"),
        pytest.param(b"\x81\xc0\x02", "the key None", id="nil"),
        pytest.param(b"\x81\xd4\x05\x00\x02", "the key an ext or a timestamp", id="an ext"),
    ],
)
def test_a_map_with_odd_keys_is_kept_for_an_answer(packed: bytes, reason: str) -> None:
    """A key that comes twice, or is no string, gives a BadMap that says why."""
    messages, _ = decode(b"\x94\x00\x07\xa5hello\x91" + packed)

    match messages:
        case [Request(7, "hello", [BadMap(why)])]:
            assert reason in why
        case _:
            pytest.fail(f"decoded {messages}")


@given(
    st.recursive(
        st.dictionaries(
            st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.none() | TEXTS | st.binary(),
            st.none(),
        ),
        lambda inner: st.dictionaries(TEXTS, inner) | st.lists(inner),
    )
)
def test_what_a_client_chooses_the_hash_of_is_never_hashed(value: Any) -> None:
    """Wherever a map stands, its keys are strings: numbers, which hash to what whoever sends them wants, are not."""

    def keys(value: Any) -> list[Any]:
        if isinstance(value, dict):
            return [*value, *(key for each in value.values() for key in keys(each))]
        return [key for each in value for key in keys(each)] if isinstance(value, list) else []

    ((message,), _) = decode(msgpack.packb([0, 1, "hello", [value]]))
    assert isinstance(message, Request)
    assert {type(key) for key in keys(message.params)} <= {str, bytes}


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"\xdb\xff\xff\xff\xff", id="str"),
        pytest.param(b"\xc6\xff\xff\xff\xff", id="bin"),
        pytest.param(b"\xdd\xff\xff\xff\xff", id="array"),
        pytest.param(b"\xdf\xff\xff\xff\xff", id="map"),
        pytest.param(b"\xdb" + struct.pack(">I", 1 << 20), id="a str of 1 MiB"),
        pytest.param(b"\xc9\xff\xff\xff\xff\x05", id="ext"),
        pytest.param(b"\xc1", id="the byte that is never used"),
    ],
)
def test_a_header_is_refused_before_its_body(header: bytes) -> None:
    """What promises too much, or is no value at all, is refused by its header, with nothing behind it."""
    messages, error = decode(b"\x94\x00\x01\xa5hello\x91" + header, limits=Limits())

    assert (messages, error is not None) == ([], True)


def test_a_frame_may_be_as_long_as_the_limit() -> None:
    """A frame of exactly the limit passes, and one byte more does not."""
    frame = encode(Request(1, "hello", ["x" * 500]))

    assert decode(frame, limits=Limits(frame=len(frame)))[1] is None
    assert "longer than" in str(decode(frame, limits=Limits(frame=len(frame) - 1))[1])


@pytest.mark.parametrize("extra", [0, 1])
def test_depth_is_bounded(extra: int) -> None:
    """Arrays inside each other pass up to the limit; far more of them are no recursion error."""
    inner: Any = 0
    for _ in range(Limits().depth - 2 + extra):
        inner = [inner]

    error = decode(encode(Request(1, "hello", [inner])), limits=Limits())[1]

    assert (error is not None) == bool(extra)
    assert "deeper" in str(decode(b"\x94\x00\x01\xa0" + b"\x91" * 100_000, limits=Limits())[1])


def test_the_number_of_values_is_bounded() -> None:
    """A megabyte of empty maps, which would be 64 MB of dicts, is refused by the header of its array."""
    header = b"\xdd" + struct.pack(">I", 1_000_000)

    assert "values" in str(decode(b"\x94\x00\x01\xa0" + header, limits=Limits())[1])


def test_a_method_is_utf8() -> None:
    """A method that is not UTF-8 is no MessagePack-RPC; a parameter is kept for an answer."""
    assert "UTF-8" in str(decode(b"\x94\x00\x01\xa1\xff\x90")[1])
    assert decode(b"\x94\x00\x01\xa0\x91\xa1\xff") == ([Request(1, "", ["\udcff"])], None)


EXTS = st.builds(
    lambda kind, size: msgpack.packb(msgpack.ExtType(kind, bytes(size))),
    st.integers(0, 127),
    st.integers(0, 300),
)
STAMPS = st.integers(0, 300).map(lambda size: msgpack.packb(msgpack.ExtType(0, bytes(size)))).map(stamped)


@given(st.lists(EXTS | STAMPS, min_size=1, max_size=5), st.lists(st.integers(0), max_size=6))
def test_exts_are_kept_for_an_answer(exts: list[bytes], cuts: list[int]) -> None:
    """Ext values and timestamps, of lengths that no timestamp has too, are BadValues, however the stream is cut."""
    data = b"\x94\x00\x01\xa5hello" + bytes([0x90 + len(exts)]) + b"".join(exts)
    assert decode(*pieces(data, cuts)) == ([Request(1, "hello", [BadValue()] * len(exts))], None)


def test_good_messages_before_bad_bytes_are_given() -> None:
    """What came whole before the fault is given, then the fault, again and again."""
    decoder = Decoder()
    decoder.feed(encode(Request(1, "hello", [])) + b"GET / HTTP/1.1")

    assert decoder.next_message() == Request(1, "hello", [])
    for _ in range(2):
        decoder.feed(encode(Request(2, "hello", [])))
        with pytest.raises(ProtocolError):
            decoder.next_message()


def test_partial_tells_of_bytes_that_wait() -> None:
    """`partial` is true while a frame has begun and not ended."""
    decoder, frame = Decoder(), encode(Request(1, "hello", []))

    assert not decoder.partial
    decoder.feed(frame[:3])
    assert (decoder.next_message(), decoder.partial) == (None, True)
    decoder.feed(frame[3:])
    assert list(decoder)
    assert not decoder.partial


def test_surrogates_are_not_sent() -> None:
    """A string that UTF-8 cannot hold is an error of whoever encodes it."""
    with pytest.raises(UnicodeEncodeError):
        encode(Notification("hello", ["\ud800"]))
