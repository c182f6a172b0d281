"""MessagePack-RPC: bytes in, messages out, and back. No socket, thread or clock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgpack

from moorage.rpc.framing import CLIENT, SERVER, Frame, Limits, ProtocolError

__all__ = [
    "CLIENT",
    "SERVER",
    "BadMap",
    "BadValue",
    "Decoder",
    "Limits",
    "Message",
    "Notification",
    "ProtocolError",
    "Request",
    "Response",
    "encode",
]

VALUE: Final = 128
"""Bytes that a value takes once it is read: most are small strings, or maps that hold them."""
_KEYED: Final = (str, bytes)
MSGID_MAX: Final = 0xFFFF_FFFF
"""The MessagePack-RPC specification: "a 32-bit unsigned integer number"."""


@dataclass(frozen=True, slots=True)
class Request:
    """A call that wants an answer. `msgid` is 0 to 2^32-1."""

    msgid: int
    method: str
    params: list[Any]


@dataclass(frozen=True, slots=True)
class Notification:
    """A call that wants no answer."""

    method: str
    params: list[Any]


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to the request with that `msgid`; `error` is None when there is a result."""

    msgid: int
    error: Any
    result: Any


@dataclass(frozen=True, slots=True)
class BadMap:
    """Stands in for a map with a key twice, or one that is no string: for an answer, and not only a cut."""

    reason: str


@dataclass(frozen=True, slots=True)
class BadValue:
    """Stands in for an ext, a timestamp being one, likewise."""

    def __repr__(self) -> str:
        return "an ext or a timestamp"


Message = Request | Notification | Response


class Decoder:
    """Turns a stream of bytes into messages, the same ones however the bytes are split.

    Message types are numbered as in the specification: 0 request, 1 response, 2 notification.
    """

    def __init__(self, limits: Limits = SERVER) -> None:
        """Allow every frame what `limits` say."""
        self._limits = limits
        self._buffer = bytearray()
        self._frame = Frame(limits)
        self._broken: ProtocolError | None = None

    @property
    def partial(self) -> bool:
        """Whether bytes wait that are no message yet; true also for whole messages that nobody took."""
        return bool(self._buffer)

    @property
    def size(self) -> int:
        """How many bytes wait."""
        return len(self._buffer)

    @property
    def weight(self) -> int | None:
        """What the next message weighs, in bytes of memory and roughly; None until it is whole.

        Raises ProtocolError as `next_message` does.
        """
        end = self._end()
        return None if end is None else end + VALUE * self._frame.values

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add bytes as they arrived. Take all messages before feeding more, to keep memory bounded."""
        if self._broken is None:
            self._buffer += data

    def next_message(self) -> Message | None:
        """Return the next whole message, or None until more bytes are fed.

        Raises ProtocolError for what is not MessagePack-RPC, and again at every later call.
        """
        end = self._end()
        if end is None:
            return None
        try:
            message = _message(_unpack(self._buffer[:end], self._frame.exts))
        except ProtocolError as error:
            raise self._break(error) from error.__cause__
        del self._buffer[:end]
        self._frame = Frame(self._limits)
        return message

    def __iter__(self) -> Iterator[Message]:
        """Give the messages that are whole. Raises as `next_message` does."""
        while (message := self.next_message()) is not None:
            yield message

    def _end(self) -> int | None:
        if self._broken is not None:
            raise self._broken
        try:
            return self._frame.end(self._buffer)
        except ProtocolError as error:
            raise self._break(error) from None

    def _break(self, error: ProtocolError) -> ProtocolError:
        """After an error there is nothing but that error."""
        self._broken = error
        self._buffer.clear()
        return error


def encode(message: Message) -> bytes:
    """Return the bytes of a message.

    Raises UnicodeEncodeError for a string that UTF-8 cannot hold (a lone surrogate).
    """
    match message:
        case Request(msgid, method, params):
            return _pack([0, msgid, method, params])
        case Response(msgid, error, result):
            return _pack([1, msgid, error, result])
        case Notification(method, params):
            return _pack([2, method, params])


def _pack(frame: list[Any]) -> bytes:
    packed: bytes = msgpack.packb(frame)
    return packed


def _unpack(frame: bytearray, exts: Iterable[int]) -> Any:
    """The value of a frame; bytes of strings that are no UTF-8 become lone surrogates, as in file names."""
    for at in exts:
        frame[at] = 0  # no timestamp: msgpack gives up on one of a length that it does not know
    return msgpack.unpackb(
        frame,
        strict_map_key=False,
        object_pairs_hook=_map,
        ext_hook=lambda _type, _data: BadValue(),
        unicode_errors="surrogateescape",
    )


def _map(pairs: list[tuple[Any, Any]]) -> dict[Any, Any] | BadMap:
    """A dict whose keys are text or bytes, which are hashed with a secret of the process.

    Other keys are never hashed: whoever sends them chooses what they hash to, and 65,000 that collide take seconds.
    """
    odd = next((key for key, _ in pairs if type(key) not in _KEYED), "")
    if isinstance(odd, list | dict | BadMap):
        return BadMap("a map has an array or a map as a key")
    if odd != "":
        return BadMap(f"a map has the key {odd!r}, which is no string")
    made = dict(pairs)
    return made if len(made) == len(pairs) else BadMap("a map has a key twice")


def _message(frame: Any) -> Message:
    if not isinstance(frame, list) or not frame or type(frame[0]) is not int:
        raise ProtocolError("a frame is not an array that begins with a message type")
    match frame:
        case [0, msgid, str() as method, list() as params]:
            return Request(_msgid(msgid), _utf8(method), params)
        case [1, msgid, error, result]:
            return Response(_msgid(msgid), error, result)
        case [2, str() as method, list() as params]:
            return Notification(_utf8(method), params)
    raise ProtocolError("a frame is neither a request nor a response nor a notification")


def _utf8(method: str) -> str:
    try:
        method.encode()
    except UnicodeEncodeError:
        raise ProtocolError("a method is not UTF-8") from None
    return method


def _msgid(value: Any) -> int:
    if type(value) is int and 0 <= value <= MSGID_MAX:
        return value
    raise ProtocolError("a message id is not an integer from 0 to 2^32-1")
