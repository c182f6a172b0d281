"""The two ways a request can fail, as clients see them."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from moorage.printable import printable


class Code(StrEnum):
    """Why a request was refused; the word before the colon on the wire."""

    INVALID = "invalid"
    NOT_FOUND = "not_found"
    EXISTS = "exists"
    ADDRESS_IN_USE = "address_in_use"
    ADDRESSES_EXHAUSTED = "addresses_exhausted"
    PORT_IN_USE = "port_in_use"
    PORTS_EXHAUSTED = "ports_exhausted"
    DENIED = "denied"
    UNAVAILABLE = "unavailable"
    UNSUPPORTED = "unsupported"
    NO_SPACE = "no_space"
    LIMIT = "limit"


class MoorageError(Exception):
    """Base of everything moorage raises on purpose."""


class Refused(MoorageError):
    """The request was refused and nothing was done.

    `code` is one of `Code`; `text` is a sentence for the person reading it: what was asked, what stands
    in the way, who holds it and what can be done. `holders` are the ids of the interfaces that hold it, as far
    as they are known: the agent looks whether they still live before it gives the refusal. Whatever `text` quotes, it
    is one line that a terminal shows as it is.
    """

    def __init__(self, code: Code | str, text: str, holders: Iterable[str] = ()) -> None:
        """Keep `code` (a member of `Code`, or its word), the sentence `text`, and who holds what was asked for."""
        text = printable(text)
        super().__init__(code, text)
        self.code = Code(code)
        self.text = text
        self.holders = tuple(holders)

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"


class Unreachable(MoorageError):
    """No agent answers at the socket; whether a request that was sent is done is unknown."""


class Fault(MoorageError):
    """Something broke; whether the request was done is unknown, and the same request may be sent again."""

    def __init__(self, text: str = "") -> None:
        """Keep the sentence `text`, made one line."""
        super().__init__(printable(text))
