"""What a supervisor is told about a child."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pykka import ActorRef

from moorage.supervision.policy import Restart


@dataclass(frozen=True, slots=True)
class Child:
    """How to start a child, whether to start it again, and how long to wait for it, in seconds."""

    name: str
    start: Callable[[], ActorRef[Any]]
    restart: Restart = Restart.PERMANENT
    ready: float = 10.0
    """How long `begin` may take."""
    shutdown: float = 5.0
    """How long the message under way and `end` may take."""
    patience: float | None = 30.0
    """How long a message may wait in the mailbox before the child counts as hung; None: for ever."""
    kind: Literal["worker", "supervisor"] = "worker"
    owner: str = ""
    """For whom it works, as far as its supervisor is asked that."""
