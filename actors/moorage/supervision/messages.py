"""What supervisors and the actors below them say to each other. Every message is frozen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from moorage.supervision.child import Child


@dataclass(frozen=True, slots=True)
class Exit:
    """The end of one life. `reason` is None when the actor was asked to stop or was done."""

    urn: str
    name: str
    reason: BaseException | None


@dataclass(frozen=True, slots=True)
class Watch:
    """Link and readiness in one: answered when `begin` is over, and `hear` gets the one Exit afterwards.

    An actor that dies in `begin` answers with what it died of and sends no Exit.
    """

    hear: Callable[[Exit], None]


@dataclass(frozen=True, slots=True)
class Stop:
    """End after the message under way; answered when the life is really over."""


@dataclass(frozen=True, slots=True)
class Crash:
    """Raise, as a bug would."""


@dataclass(frozen=True, slots=True)
class Bereft:
    """Raise: a thread that worked for the actor died of `reason`."""

    reason: BaseException


@dataclass(frozen=True, slots=True)
class Ping:
    """Tell `hear` the urn as soon as the mailbox before this message is empty."""

    hear: Callable[[Pong], None]


@dataclass(frozen=True, slots=True)
class Pong:
    """The answer to a Ping, from the incarnation `urn`."""

    urn: str
    name: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time has passed: look for children that hang."""


@dataclass(frozen=True, slots=True)
class Start:
    """Start a dynamic child; answered True when it is ready, False when one of that name runs already.

    With `first` the child, whether new or not, is given that message, and its answer is the answer.
    """

    child: Child
    first: Any = None


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop a dynamic child and forget it; answered, when its life is over, with whether there was one."""

    name: str


@dataclass(frozen=True, slots=True)
class Began:
    """To the supervisor itself: the child `name` is ready, or died of `error` before it was."""

    urn: str
    name: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class Ended:
    """To the supervisor itself: a child that was being halted is over."""

    urn: str
    name: str


Message = Any
"""Anything; an actor says which messages it takes by its `receive`."""
