"""What containers may send: with the port mapper before a container's link is up, and until it is gone."""

from __future__ import annotations

from collections.abc import Callable, Collection

from moorage.control.persist import persist, persist_here
from moorage.control.settling import Settle, guard_owner, settle_guard
from moorage.supervision.directory import Address
from moorage.values import Interface, Network


class Guards:
    """Remembers what the port mapper was told for each attached interface; another life of it reads the journal.

    And of which interface and network that was made, so that it is made anew only where one of these is another.
    """

    def __init__(self, address: Callable[[str], Address]) -> None:
        """`address` finds an actor."""
        self._address = address
        self._told: dict[str, tuple[Interface, Network, Settle]] = {}

    def know(self, networks: Collection[Network], interfaces: Collection[Interface]) -> None:
        """At the agent's start the port mapper has read these itself, before anybody could attach more."""
        self._told = {
            each.id: (each, network, settle_guard(each, network))
            for each, network in _attached(networks, interfaces)
        }

    def ensure(self, interface: Interface, network: Network) -> None:
        """Return when the rules of this interface are in the kernel. Raises what the port mapper does."""
        if (settle := self._untold(interface, network)) is not None:
            persist_here(self._address("port-mapper"), settle)
            self._told[interface.id] = (interface, network, settle)

    async def ensure_all(self, networks: Collection[Network], interfaces: Collection[Interface]) -> None:
        """The same for all that are attached."""
        for each, network in _attached(networks, interfaces):
            if (settle := self._untold(each, network)) is not None:
                await persist(self._address("port-mapper"), settle)
                self._told[each.id] = (each, network, settle)

    def drop(self, interface_id: str) -> None:
        """Nothing may be sent any more by a link that is gone, and what it began ends; nobody waits for that.

        Whoever comes next does: what is told here is done before what is asked for him.
        """
        if told := self._told.pop(interface_id, None):
            gone = Settle(guard_owner(interface_id), addresses=told[2].addresses)
            self._address("port-mapper").tell(gone)

    def _untold(self, interface: Interface, network: Network) -> Settle | None:
        """What the port mapper has to be told, if it does not know it already."""
        told = self._told.get(interface.id)
        if told is not None and told[:2] == (interface, network):
            return None
        settle = settle_guard(interface, network)
        if told is None or told[2] != settle:
            return settle
        self._told[interface.id] = (interface, network, settle)
        return None


def _attached(
    networks: Collection[Network], interfaces: Collection[Interface]
) -> list[tuple[Interface, Network]]:
    by_name = {network.name: network for network in networks}
    return [
        (each, by_name[each.network])
        for each in interfaces
        if each.netns is not None and each.network in by_name
    ]
