"""Moments at which an agent can be killed: before and after each step of an operation, a start and an end."""

from __future__ import annotations

import inspect
import os
import signal
import threading
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

from chaos.tampering import TAMPERING

STEPS = (
    "control.desk:Desk.call",
    "control.reservation:Reservation.addresses",
    "control.reservation:Reservation.ports",
    "control.reservation:Reservation.undo",
    "control.change:start_all",
    "control.change:Change._commit",
    "control.change:Change._follow",
    "control.change:Change._give_back",
    "control.change:stop_all",
    "control.change:give_back_ports",
    "control.change:give_back_addresses",
    "control.proxy:Proxy.begin",
    "control.proxy:Proxy.end",
    "control.port_mapper:PortMapper.receive_batch",
    "control.port_mapper:PortMapper._apply",
    "control.port_mapper:PortMapper._reserve",
    "control.port_mapper:PortMapper._append",
    "control.port_mapper:PortMapper._remove_reserved",
    "control.port_mapper:PortMapper._look",
    "control.port_mapper:PortMapper._end_strays",
    "control.links:Links.receive",
    "store.store:Store.commit",
    "store.store:Store._transaction",
    "store.requests:Requests.record",
    "rpc.session:Session._respond",
)
"""What is under way while clients ask."""

START = (
    "store.store:Store.open",
    "control.journal:Journal.begin",
    "control.tree:Allocators.begin",
    "control.port_mapper:PortMapper.begin",
    "control.port_mapper:PortMapper._reload",
    "control.links:Links.begin",
    "control.networks:Networks._append",
    "control.networks:Networks._make",
    "control.proxies:Proxies.begin",
    "control.interfaces:Interfaces.begin",
    "control.gateway:Gateway.begin",
)
"""What is under way at a start, once or, with networks, at the first."""

END = (
    "control.gateway:Gateway.end",
    "control.port_mapper:PortMapper.end",
    "control.links:Links.end",
    "control.journal:Journal.end",
)
"""What is under way after SIGTERM."""

HANG = "control.journal:Journal.receive_batch"
"""Where the journal can be made to hang."""

MOMENTS = ("before", "after")


def points(steps: tuple[str, ...]) -> list[str]:
    """The names of all points around these steps."""
    return [f"{step}/{moment}" for step in steps for moment in MOMENTS]


class Trigger:
    """Kills this process, lets it hang, or does something to its state, where it comes to a point, once told which."""

    def __init__(self, order: Path) -> None:
        """Read orders, `POINT COUNT HOW` (`kill`, `hang`, or one of `TAMPERING`), from that file; wrap every step."""
        self.hangs = False
        """Whether a thread hangs at such a point, and will for ever."""
        self._order = order
        self._point, self._left, self._how = "", 0, ""
        for step in (*STEPS, *START, *END, HANG):
            self._wrap(step)

    def read(self, *_signal: object) -> None:
        """Take the order that is there, or none."""
        point, count, self._how = self._order.read_text().split() if self._order.exists() else ("", "0", "")
        self._point, self._left = point, int(count)
        self._order.unlink(missing_ok=True)  # heard

    def come(self, point: str) -> None:
        """Pass a point, or not."""
        if point != self._point:
            return
        self._left -= 1
        if self._left == 0 and self._how in TAMPERING:
            TAMPERING[self._how](self._order.with_name("state"))
        elif self._left == 0 and self._how == "hang":
            self.hangs = True
            threading.Event().wait()
        elif self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def _wrap(self, step: str) -> None:
        module, path = step.split(":")
        *owners, name = path.split(".")
        owner: Any = import_module(f"moorage.{module}")
        for each in owners:
            owner = getattr(owner, each)
        original = inspect.getattr_static(owner, name)
        if isinstance(original, classmethod):
            setattr(owner, name, classmethod(self._around(step, original.__func__)))
        else:
            setattr(owner, name, self._around(step, original))

    def _around(self, name: str, step: Callable[..., Any]) -> Callable[..., Any]:
        before, after = (f"{name}/{moment}" for moment in MOMENTS)

        @wraps(step)
        def synchronous(*args: Any, **kwargs: Any) -> Any:
            self.come(before)
            result = step(*args, **kwargs)
            self.come(after)
            return result

        @wraps(step)
        async def asynchronous(*args: Any, **kwargs: Any) -> Any:
            self.come(before)
            result = await step(*args, **kwargs)
            self.come(after)
            return result

        return asynchronous if inspect.iscoroutinefunction(step) else synchronous
