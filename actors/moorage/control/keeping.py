"""What of the host's own the port mapper sees to, beside the table: forward chains and routing rules of others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from moorage.control.context import Context
from moorage.control.desired import Desired
from moorage.kernel.protocol import Firewall, Kept
from moorage.log import Log
from moorage.model.overdrawn import Overdrawn, Place
from moorage.values import Interface, Network


class Keeping:
    """Sees to both, and tells of what is in the way, once and for as long as it is. Gives what was put right."""

    def __init__(self, context: Context, owner: str, remember: Callable[[str, str], None]) -> None:
        """Warn in the name of the actor `owner`; `remember(path, value)` notes a sysctl before it is changed."""
        self._context = context
        self._owner = owner
        self._remember = remember
        self._log = Log(actor=owner)
        self._overdrawn = Overdrawn()
        self._bounded: dict[str, set[str]] = {}

    def forwarding(self, firewall: Firewall, desired: Desired) -> Sequence[str]:
        """Let our traffic pass."""
        return self._told("forwarding_dropped", firewall.keep_forwarding(desired.bridges()))

    def answers(self, firewall: Firewall, desired: Desired, *, repair: bool = True) -> Sequence[str]:
        """Let answers leave as a service's would; without `repair` only follow what the host changed."""
        kept = firewall.keep_answers(desired.networks(), self._remember, repair=repair)
        return self._told("routing_not_followed", kept)

    def shares(self, firewall: Firewall) -> bool:
        """Look who has begun as many connections as may be, of all or to one place; whether that is to be told."""
        before, self._overdrawn = self._overdrawn, firewall.overdrawn()
        return before != self._overdrawn

    def tell_shares(self, interfaces: Collection[Interface], networks: Collection[Network]) -> None:
        """Warn of them while it is so; the log has each once in the life of its interface."""
        flows = self._context.config.flows
        here = {each.id for each in interfaces}
        full = {
            name: f"{name} has begun as many connections as an interface may (flows = {flows}): it begins no more "
            "until some have ended"
            for name in self._overdrawn.met(interfaces, networks)
        }
        self._bound("flows", full, here, "flows_bounded", lambda _: {"flows": flows})
        fast = {
            name: f"{name} begins more TCP connections than an interface may (flows = {flows}, and as many a minute), "
            "of which the kernel's table has those that have ended for two minutes: what is beyond is dropped"
            for name in self._overdrawn.hurrying(interfaces, networks)
        }
        self._bound("rate", fast, here, "rate_bounded", lambda _: {"flows": flows})
        places = self._overdrawn.crowding(interfaces)
        crowds = {name: _crowds(name, each) for name, each in places.items()}
        self._bound("places", crowds, here, "places_bounded", lambda name: {"to": str(places[name][0])})

    def _bound(
        self,
        what: str,
        sentences: dict[str, str],
        here: Collection[str],
        event: str,
        details: Callable[[str], dict[str, object]],
    ) -> None:
        """Warn of these ids, each by its sentence, and log those that had not met that before; `here` are all ids."""
        self._context.warnings.say(f"{self._owner} {what}", list(sentences.values()))
        known = self._bounded.get(what, set()).intersection(here)
        self._bounded[what] = known.union(sentences)
        for name in sentences.keys() - known:
            self._log.warning(event, id=name, **details(name))

    def _told(self, event: str, kept: Kept) -> Sequence[str]:
        for warning in self._context.warnings.say(f"{self._owner} {event}", kept.warnings):
            self._log.warning(event, what=warning)
        return kept.repaired


def _crowds(name: str, places: Sequence[Place]) -> str:
    others = f" and {len(places) - 1} other places" if len(places) > 1 else ""
    return (
        f"{name} has a quarter of the ports that all containers have towards {places[0]}{others}: it begins no more "
        "connections there until some have ended (UDP: 30 s after the last datagram)"
    )
