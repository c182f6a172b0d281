"""What an actor that ends still owes: an answer to everyone who comes late."""

from __future__ import annotations

import threading
from typing import Any

from pykka._envelope import Envelope
from pykka.messages import _ActorStop

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.supervision.messages import Stop, Watch
from moorage.supervision.policy import Hopeless
from moorage.supervision.reply import respond


class Ending:
    """Answers for an actor from the moment its inbox closes.

    It does not know the actor, so that whoever still holds a reference to a dead one holds little.
    """

    def __init__(self, name: str) -> None:
        """Answer for the actor `name`, whose life goes on."""
        self._name = name
        self._lock = threading.Lock()
        self._owed: list[Envelope[Any]] = []
        self._to_stop: Any = None
        self._to_watch: MoorageError | None = None
        self.is_over = False
        """Whether the life is really over, `end` included."""

    def late(self, envelope: Envelope[Any]) -> None:
        """Refuse; but who asks for the end, or watches for it, is answered when it has come."""
        if not isinstance(envelope.message, (Stop, Watch, _ActorStop)):
            text = f"{self._name} ended before it could answer: nothing was done, try again"
            respond(envelope, Refused(Code.UNAVAILABLE, text))
            return
        with self._lock:
            if self._to_watch is None:
                self._owed.append(envelope)
                return
        self._pay(envelope)

    def over(self, reason: BaseException | None) -> None:
        """The life is really over."""
        self.is_over = True
        self._settle(True, _death(self._name, reason))

    def hang(self) -> Fault:
        """The life may never be over: nobody shall wait for it. Gives what its askers are told."""
        fault = Fault(f"{self._name} hung and was given up: the outcome is unknown")
        self._settle(fault, fault)
        return fault

    def _settle(self, to_stop: Any, to_watch: MoorageError) -> None:
        with self._lock:
            self._to_stop, self._to_watch = to_stop, to_watch
            owed, self._owed = self._owed, []
        for envelope in owed:
            self._pay(envelope)

    def _pay(self, envelope: Envelope[Any]) -> None:
        respond(envelope, self._to_watch if isinstance(envelope.message, Watch) else self._to_stop)


def describe(error: BaseException | None) -> str:
    """An error in words, also one that cannot say what it is."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - the account of a death must not fail with it
        return type(error).__name__


def _death(name: str, reason: BaseException | None) -> MoorageError:
    if isinstance(reason, MoorageError):
        return reason
    why = "it was stopped" if reason is None else describe(reason)
    fault = Fault(f"{name} ended before it was ready: {why}")
    if isinstance(reason, Hopeless):
        fault.__cause__ = reason.with_traceback(None)  # its frames hold the actor
    return fault
