"""Ports that have as much as they may have: what is refused for it is counted, and told once."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from moorage.log import Log

if TYPE_CHECKING:
    from moorage.proxy.reactor import Reactor
    from moorage.proxy.service import Service

QUIET = 10.0
"""Seconds without a refusal after which it is over."""

Tell = Callable[[str, str], None]
"""Given the name of a port and a sentence on what is refused there; an empty one when it is over."""

log = Log()


class Crowd:
    """What one port has refused since it was told."""

    __slots__ = ("refused", "service")

    def __init__(self, service: Service) -> None:
        """Begin with nothing."""
        self.service = service
        self.refused = 0

    def ready(self, events: int) -> None:
        """Nothing is waited for but time."""

    def fail(self) -> None:
        """A bug cost the word that it is over."""


class Crowds:
    """Those of one data plane."""

    __slots__ = ("_crowds", "_quiet", "_reactor", "_tell")

    def __init__(self, reactor: Reactor, tell: Tell) -> None:
        """`tell` is called on the reactor's thread."""
        self._reactor = reactor
        self._tell = tell
        self._crowds: dict[Service, Crowd] = {}
        self._quiet = reactor.timer(QUIET, self._over)

    def share_met(self, service: Service, *, gives_way: bool) -> None:
        """One was refused since the port has its share; or took the place of another where clients give way."""
        fate = (
            "new clients take the place of those that were silent longest"
            if gives_way
            else "more are refused"
        )
        text = (
            f"{service.name} has its share of the agent's descriptors, {service.used}, by its clients: {fate}"
        )
        self._refuse(service, "port_share_met", text)

    def exhausted(self, service: Service, reason: str | None) -> None:
        """One was refused since there are no descriptors."""
        text = f"{service.name} refuses clients, for the agent has no descriptors left ({reason}): raise LimitNOFILE"
        self._refuse(service, "descriptors_exhausted", text)

    def forget(self, service: Service) -> None:
        """The port is gone."""
        crowd = self._crowds.get(service)
        if crowd is not None:
            self._quiet.cancel(crowd)
            self._over(crowd)

    def _refuse(self, service: Service, event: str, text: str) -> None:
        crowd = self._crowds.get(service)
        if crowd is None:
            crowd = self._crowds[service] = Crowd(service)
            log.warning(event, port=service.name, what=text)
            self._tell(service.name, text)
        crowd.refused += 1
        self._quiet.renew(crowd, self._reactor.now)

    def _over(self, crowd: Crowd) -> None:
        del self._crowds[crowd.service]
        log.info("port_share_left", port=crowd.service.name, refused=crowd.refused)
        self._tell(crowd.service.name, "")
