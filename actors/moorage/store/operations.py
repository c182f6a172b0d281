"""What the store is told to change, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.model.pieces import Reply
from moorage.values import Interface, Network

TRUSTED = 0
"""The uid under which root's requests are remembered, and those of the agent's own user."""


@dataclass(frozen=True, slots=True)
class PutInterface:
    """Insert an interface, or replace the one with its id."""

    interface: Interface
    gives_back: bool = False
    """Whether it only loses something, ports or its place, or is put back."""
    rebuilt: bool = False
    """Whether it is there, and only its record is new."""

    @property
    def is_there(self) -> bool:
        """Whether it keeps its MAC although another has the same, and all it has, however much its owner has."""
        return self.gives_back or self.rebuilt


@dataclass(frozen=True, slots=True)
class DropInterface:
    """Forget an interface with its addresses and ports; one that is not there is no error."""

    id: str
    quarantine_until: float | None = None
    """Until when its addresses rest, by the clock of `Store.open`; None to give them back at once."""


@dataclass(frozen=True, slots=True)
class PutNetwork:
    """Insert a network; one that is there is never replaced."""

    network: Network


@dataclass(frozen=True, slots=True)
class DropNetwork:
    """Forget a network without interfaces; one that is not there is no error."""

    name: str


@dataclass(frozen=True, slots=True)
class Remember:
    """Keep the value that a sysctl had; the first value told stays."""

    path: str
    value: str


@dataclass(frozen=True, slots=True)
class ForgetSysctls:
    """Forget values that `Remember` kept."""

    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reserve:
    """Note ports as ones we added to `ip_local_reserved_ports`."""

    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Unreserve:
    """Forget ports that `Reserve` noted."""

    ports: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ForgetRequest:
    """Forget a request, so that it may be tried again."""

    request: str
    uid: int = TRUSTED


Release = DropInterface | DropNetwork | ForgetSysctls | Unreserve | ForgetRequest
"""What goes through on a full disk."""
Operation = PutInterface | PutNetwork | Remember | Reserve | Release


class RequestKey(NamedTuple):
    """A caller's own string for one request, with what it asked."""

    request: str
    method: str
    digest: bytes
    """Of the parameters."""
    uid: int = TRUSTED
    """Whose it is."""


@dataclass(frozen=True, slots=True)
class Commit:
    """Operations that happen together or not at all, with the answer to remember for their request."""

    operations: tuple[Operation, ...]
    request: RequestKey | None = None
    reply: Reply = b""

    @property
    def releases(self) -> bool:
        """Whether it only gives back."""
        return all(isinstance(each, Release) or _gives_back(each) for each in self.operations)


def _gives_back(operation: Operation) -> bool:
    return isinstance(operation, PutInterface) and operation.gives_back


@dataclass(frozen=True, slots=True)
class Done:
    """The commit is durable."""

    changed: tuple[bool, ...] = ()
    """For each operation, whether there was anything to do."""


@dataclass(frozen=True, slots=True)
class Already:
    """The request was done before; nothing was done now."""

    reply: Reply
    """The first answer."""


Outcome = Done | Already | Exception


class Conflict(Refused):
    """Somebody holds what was asked for: `holder` is the id of the interface, or the name of the network."""

    def __init__(self, code: Code, text: str, holder: str, *, network: bool = False) -> None:
        """Keep who holds it beside the code and the sentence."""
        super().__init__(code, text, () if network else [holder])
        self.holder = holder
