"""The bounds of the kernel, as its error numbers tell them: each a refusal that says what is full, and what helps."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from pyroute2.netlink.exceptions import NetlinkError

from moorage.errors import Code, Refused

_Parameters = ParamSpec("_Parameters")
_Given = TypeVar("_Given")
_Class = TypeVar("_Class", bound=type[Any])

_MEMORY = (
    "the kernel has no memory left for it, or its control group may have none: free some, or raise MemoryMax"
)
_ROOM = "the kernel has no room left for it: release what is not needed, or raise the bound"
_BOUNDS = {
    errno.EMFILE: "the agent has as many descriptors open as it may have: raise LimitNOFILE of its service",
    errno.ENFILE: "as many files are open on this host as fs.file-max allows: close some, or raise it",
    # net/bridge/br_private.h, BR_MAX_PORTS: numbers 1 to 1023
    errno.EXFULL: "its bridge has all the 1,023 ports that the kernel gives a bridge: use another network",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.ENOMEM: _MEMORY,
    errno.ENOBUFS: _MEMORY,
}

_QUESTIONS = {
    "changed": "tell what has changed",
    "overdrawn": "tell who has begun too much",
    "ephemeral": "tell its ephemeral ports",
}
"""What is asked by methods whose name is no verb."""


def limit(what: str, error: NetlinkError | OSError) -> Refused | None:
    """The refusal of `what` (`attach web`), where the error says that a bound of the kernel was met; else None."""
    number = int((error.code if isinstance(error, NetlinkError) else error.errno) or 0)
    bound = _BOUNDS.get(number)
    return None if bound is None else _refused(what, bound, number)


def limit_in(text: str) -> Refused | None:
    """The same for an error that a library tells as text, in which strerror(3) is quoted; None for any other."""
    for number, bound in (_BOUNDS | {errno.ENFILE: _ROOM}).items():  # there it is a set that is full
        if os.strerror(number) in text:
            return _refused("change nftables", bound, number)
    return None


def _refused(what: str, bound: str, number: int) -> Refused:
    return Refused(Code.LIMIT, f"the kernel did not {what} ({os.strerror(number)}): {bound}")


def bounded(kind: _Class) -> _Class:
    """Let the public methods of a class raise Refused (limit) where a bound of the kernel was met.

    A class whose methods do a thing wholly or not at all, or again without harm: then nothing was changed.
    """
    for name, function in list(vars(kind).items()):
        if callable(function) and not name.startswith("_"):
            setattr(kind, name, refusing(_QUESTIONS.get(name, name.replace("_", " ")))(function))
    return kind


def refusing(what: str) -> Callable[[Callable[_Parameters, _Given]], Callable[_Parameters, _Given]]:
    """Let a function raise Refused (limit) where a bound of the kernel was met, which `what` is refused for."""

    def decorate(function: Callable[_Parameters, _Given]) -> Callable[_Parameters, _Given]:
        @wraps(function)
        def bounded_function(*args: _Parameters.args, **kwargs: _Parameters.kwargs) -> _Given:
            try:
                return function(*args, **kwargs)
            except (NetlinkError, OSError) as error:
                if (refused := limit(what, error)) is not None:
                    raise refused from error
                raise

        return bounded_function

    return decorate
