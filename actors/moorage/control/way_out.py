"""The ports that the host's own connections go out from: published ones leave half of them."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.errors import Refused
from moorage.kernel.protocol import Kernel
from moorage.model.outgoing import Outgoing
from moorage.store import Commit, PutInterface
from moorage.store.reader import Reader


class WayOut:
    """Judges commits before they are recorded, which is the one place that all ports of all protocols pass.

    A list of what is published takes milliseconds where that is much, so that it is asked for only when as many ports
    were added since as were free.
    """

    def __init__(self, kernel: Kernel) -> None:
        """Nothing is known yet."""
        self._kernel = kernel
        self._room = 0
        self._judged: tuple[range, int] | None = None

    def refusals(self, store: Reader, commits: Sequence[Commit]) -> list[Refused | None]:
        """What each is refused with, in order, when all before that are not refused are done."""
        pending: set[int] = set()
        return [self._unless_refused(store, commit, pending) for commit in commits]

    def _unless_refused(self, store: Reader, commit: Commit, pending: set[int]) -> Refused | None:
        """The same where the kernel does not answer, for want of a descriptor."""
        try:
            return self._refusal(store, commit, pending)
        except Refused as refusal:
            return refusal

    def foresee(self, store: Reader, owner: str, asked: frozenset[int]) -> Refused | None:
        """What these ports, as `owner` would have them, would be refused with now."""
        try:
            return self._judged_of(store, owner, asked, set())[0]
        except Refused as refusal:
            return refusal

    def _refusal(self, store: Reader, commit: Commit, pending: set[int]) -> Refused | None:
        owner, asked = _asked(commit)
        refusal, wanted = self._judged_of(store, owner, asked, pending)
        if refusal is None:
            self._room -= len(wanted)
            pending |= wanted
        return refusal

    def _judged_of(
        self, store: Reader, owner: str, asked: frozenset[int], pending: set[int]
    ) -> tuple[Refused | None, frozenset[int]]:
        """The refusal of what `owner` asks for, if any, and which of that the host goes out from."""
        if not asked:
            return None, asked
        ports, reserved = self._kernel.outgoing()
        wanted = frozenset(port for port in asked if port in ports)
        if not wanted:
            return None, wanted
        judged = ports, reserved - store.count_reserved()
        if judged != self._judged or len(wanted) > self._room:
            refusal = self._judge(store, owner, wanted, pending, ports)
            self._judged = judged
            return refusal, wanted
        return None, wanted

    def _judge(
        self, store: Reader, owner: str, wanted: frozenset[int], pending: set[int], ports: range
    ) -> Refused | None:
        held = store.published(ports) | pending
        outgoing = Outgoing(ports, self._kernel.reserved_ports() - store.reserved())
        self._room = outgoing.room(held)
        return outgoing.refusal(owner, held, wanted)


def _asked(commit: Commit) -> tuple[str, frozenset[int]]:
    """Who would have which host ports; none for what only loses some."""
    ports: set[int] = set()
    owner = ""
    for operation in commit.operations:
        if isinstance(operation, PutInterface) and not (operation.gives_back or operation.rebuilt):
            owner = operation.interface.id
            for each in operation.interface.ports:
                ports.update(range(each.host_port, each.host_port + each.count))
    return owner, frozenset(ports)
