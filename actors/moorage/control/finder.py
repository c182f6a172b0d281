"""Finding namespaces at paths whose file systems have to be asked: a user's own answers late, or never."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from moorage.errors import Code, Refused
from moorage.kernel.protocol import Kernel, Namespace
from moorage.model.caller import Caller
from moorage.threads import Helper

PATIENCE = 5.0
"""Seconds for a file system to answer."""
LOOKS = 4
"""Threads that wait for those of clients who are not trusted, one for each uid; as many again for the trusted."""


class Finder:
    """Looks for each client on a thread that ends with its look. For the loop's thread.

    A uid, or whoever is trusted, has the next look when its last has ended, however long that takes.
    """

    def __init__(self, kernel: Kernel) -> None:
        """Nobody looks yet."""
        self._kernel = kernel
        self._looking: list[int | None] = []

    async def find(self, netns: str, caller: Caller | None) -> Namespace:
        """As `Kernel.search_namespace`. Raises Refused (unavailable) where it is not answered in `PATIENCE` as well."""
        uid = None if caller is None else caller.uid
        self._check(uid)
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[Namespace] = loop.create_future()

        def tell(found: Namespace | BaseException) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._ended, uid, outcome, found)

        thread = Helper("moorage-lookup", lambda: tell(self._kernel.search_namespace(netns, caller)), tell)
        try:
            thread.start()
        except RuntimeError as error:  # there are no more threads to be had
            raise _unanswered(f"there is no thread to look with: {error}") from None
        self._looking.append(uid)
        try:
            return await asyncio.wait_for(outcome, PATIENCE)
        except TimeoutError:
            raise _unanswered("its file system does not answer") from None

    def _check(self, uid: int | None) -> None:
        if uid is None:
            if self._looking.count(None) >= LOOKS:
                raise _unanswered(f"{LOOKS} others wait for file systems that do not answer")
        elif uid in self._looking:
            raise _unanswered(f"another path of uid {uid} waits for a file system that has not answered yet")
        elif len(self._looking) - self._looking.count(None) >= LOOKS:
            raise _unanswered(f"{LOOKS} others wait for file systems that do not answer")

    def _ended(
        self, uid: int | None, outcome: asyncio.Future[Namespace], found: Namespace | BaseException
    ) -> None:
        self._looking.remove(uid)
        if outcome.done():
            return
        if isinstance(found, BaseException):
            outcome.set_exception(found)
        else:
            outcome.set_result(found)


def _unanswered(why: str) -> Refused:
    text = (
        f"the path of the namespace cannot be looked at now ({why}): name pid:N, or a name under /run/netns"
    )
    return Refused(Code.UNAVAILABLE, text)
