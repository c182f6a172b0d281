"""Who of ours is in which namespace, so that they answer by the links that they are asked by."""

from __future__ import annotations

from collections import defaultdict
from contextlib import suppress

from moorage.errors import Refused
from moorage.kernel.linux import netns
from moorage.kernel.linux.container import Container
from moorage.kernel.linux.containment import contained
from moorage.kernel.protocol import Namespace
from moorage.values import Interface

_FIRST = 2
"""The index that a namespace gives to its first link after `lo`, and how many links it has with that one alone."""


class Inside:
    """The interfaces in each namespace, by its cookie; those that were there before us come in with the first audit."""

    def __init__(self) -> None:
        self._members: defaultdict[int, dict[str, Interface]] = defaultdict(dict)
        self._places: dict[str, int] = {}
        self._ruled: dict[int, bool] = {}
        """Whether a namespace has rules of ours, as far as that is known."""

    def arrive(self, interface: Interface, index: int, container: Container) -> None:
        """Its link was just made, with this index in there: where it is the only one nothing is to be done."""
        self._put(interface)
        if index == _FIRST or container.count_links() <= _FIRST:
            self._ruled[interface.netns_cookie] = False
        else:
            self._settle(interface.netns_cookie, container)

    def enter(self, interface: Interface, container: Container) -> list[str]:
        """It was looked into; gives a sentence for each thing that somebody had undone."""
        self._put(interface)
        if container.links <= _FIRST and self._ruled.get(interface.netns_cookie) is False:
            return []
        done = self._settle(interface.netns_cookie, container)
        return [f"{interface.id}: {sentence}" for sentence in done]

    def leave(self, interface_id: str) -> None:
        """Its link is gone. Those that are left have the way out, and rules as long as they need them."""
        cookie = self._places.pop(interface_id, 0)
        members = self._members.get(cookie, {})
        gone = members.pop(interface_id, None)
        if gone is not None and (members or self._ruled.get(cookie)):
            self._make_up(cookie, gone)
        if not members:
            self._members.pop(cookie, None)
            self._ruled.pop(cookie, None)

    def _make_up(self, cookie: int, gone: Interface) -> None:
        # the namespace may have ended, or end now
        with (
            suppress(Refused),
            netns.reopened(Namespace(gone.netns or "", cookie)) as fd,
            contained(f"settle what {gone.id} left", gone),
            Container(fd) as container,
        ):
            for each in self._members[cookie].values():
                container.way_out(each)
            self._settle(cookie, container)

    def _put(self, interface: Interface) -> dict[str, Interface]:
        self._places[interface.id] = interface.netns_cookie
        self._members[interface.netns_cookie][interface.id] = interface
        return self._members[interface.netns_cookie]

    def _settle(self, cookie: int, container: Container) -> list[str]:
        settled = container.settle_ways(self._members[cookie].values())
        self._ruled[cookie] = settled.ruled
        return list(settled.done)
