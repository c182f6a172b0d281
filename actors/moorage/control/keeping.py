"""What of the host's own the port mapper sees to, beside the table: forward chains and routing rules of others."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from moorage.control.context import Context
from moorage.control.desired import Desired
from moorage.kernel.protocol import Firewall, Kept
from moorage.log import Log
from moorage.values import Interface, Network


class Keeping:
    """Sees to both, and tells of what is in the way, once and for as long as it is. Gives what was put right."""

    def __init__(self, context: Context, owner: str, remember: Callable[[str, str], None]) -> None:
        """Warn in the name of the actor `owner`; `remember(path, value)` notes a sysctl before it is changed."""
        self._context = context
        self._owner = owner
        self._remember = remember
        self._log = Log(actor=owner)
        self._overdrawn: frozenset[tuple[str, str]] = frozenset()
        self._bounded: set[str] = set()

    def forwarding(self, firewall: Firewall, desired: Desired) -> Sequence[str]:
        """Let our traffic pass."""
        return self._told("forwarding_dropped", firewall.keep_forwarding(desired.bridges()))

    def answers(self, firewall: Firewall, desired: Desired, *, repair: bool = True) -> Sequence[str]:
        """Let answers leave as a service's would; without `repair` only follow what the host changed."""
        kept = firewall.keep_answers(desired.networks(), self._remember, repair=repair)
        return self._told("routing_not_followed", kept)

    def shares(self, firewall: Firewall) -> bool:
        """Look which interfaces have begun as many connections as they may; whether that is to be told."""
        before, self._overdrawn = self._overdrawn, firewall.overdrawn()
        return before != self._overdrawn

    def tell_shares(self, interfaces: Collection[Interface], networks: Collection[Network]) -> None:
        """Warn of them while it is so; the log has each once in the life of its interface."""
        bridges, flows = {each.name: each.bridge for each in networks}, self._context.config.flows
        met = [
            each.id for each in interfaces if (bridges.get(each.network), each.mac.lower()) in self._overdrawn
        ]
        self._context.warnings.say(
            f"{self._owner} flows",
            [
                f"{name} has begun as many connections as an interface may (flows = {flows}): it begins no more until "
                "some have ended"
                for name in met
            ],
        )
        self._bounded &= {each.id for each in interfaces}
        for name in set(met) - self._bounded:
            self._log.warning("flows_bounded", id=name, flows=flows)
        self._bounded.update(met)

    def _told(self, event: str, kept: Kept) -> Sequence[str]:
        for warning in self._context.warnings.say(f"{self._owner} {event}", kept.warnings):
            self._log.warning(event, what=warning)
        return kept.repaired
