"""Who looks for namespaces where that may take long, and how many at a time."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest

from moorage.control import finder
from moorage.control.finder import LOOKS, Finder
from moorage.errors import Code, Refused
from moorage.kernel.protocol import Kernel, Namespace
from moorage.model.caller import Caller

ALICE, BOB = Caller(1, 1), Caller(2, 2)


class LateKernel:
    """Answers when it is told to: a path is found, and its cookie is its length; nothing is at `nothing`."""

    def __init__(self) -> None:
        self.answering = threading.Event()

    def search_namespace(self, path: str, _caller: Caller | None) -> Namespace:
        """See `Kernel`."""
        self.answering.wait()
        if path == "nothing":
            raise Refused(Code.NOT_FOUND, "nothing")
        return Namespace(path, len(path))


@pytest.fixture
def kernel() -> LateKernel:
    """One that does not answer yet."""
    return LateKernel()


async def refused(looking: Any) -> str:
    with pytest.raises(Refused) as caught:
        await looking
    return str(caught.value)


def test_each_has_one_look_at_a_time(kernel: LateKernel) -> None:
    """A uid's second is refused, another's goes on; when the first is answered there is room again."""

    async def run() -> None:
        found = Finder(cast("Kernel", kernel))
        first = asyncio.create_task(found.find("web", ALICE))
        await asyncio.sleep(0)
        assert "another path of uid 1 waits" in await refused(found.find("web", ALICE))
        second = asyncio.create_task(found.find("nothing", BOB))
        await asyncio.sleep(0)
        kernel.answering.set()
        assert await first == Namespace("web", 3)
        assert await refused(second) == "not_found: nothing"
        assert await found.find("web", ALICE) == Namespace("web", 3)

    asyncio.run(run())


def test_so_many_look_at_a_time(kernel: LateKernel) -> None:
    """As many uids as there are looks, and as many of the trusted: neither keeps the others out."""

    async def run() -> None:
        found = Finder(cast("Kernel", kernel))
        looks = [asyncio.create_task(found.find("web", Caller(uid, uid))) for uid in range(LOOKS)]
        looks += [asyncio.create_task(found.find("web", None)) for _ in range(LOOKS)]
        await asyncio.sleep(0)
        for caller in (Caller(LOOKS, LOOKS), None):
            assert f"{LOOKS} others wait" in await refused(found.find("web", caller))
        kernel.answering.set()
        assert await asyncio.gather(*looks) == [Namespace("web", 3)] * 2 * LOOKS

    asyncio.run(run())


def test_who_waited_too_long_waits_behind_the_back(
    kernel: LateKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is refused, and the next of that uid as long as its thread waits; an answer then is nobody's."""
    monkeypatch.setattr(finder, "PATIENCE", 0.01)

    async def run() -> None:
        found = Finder(cast("Kernel", kernel))
        assert "its file system does not answer" in await refused(found.find("web", ALICE))
        assert "another path of uid 1 waits" in await refused(found.find("web", ALICE))
        kernel.answering.set()
        for thread in threading.enumerate():
            if thread.name == "moorage-lookup":
                thread.join()
        await asyncio.sleep(0)
        monkeypatch.setattr(finder, "PATIENCE", 10)
        assert await found.find("web", ALICE) == Namespace("web", 3)

    asyncio.run(run())


def test_an_answer_after_the_end_is_nobodys(kernel: LateKernel) -> None:
    """Whose loop is closed by then hears nothing, and the thread ends."""

    async def run() -> None:
        task = asyncio.create_task(Finder(cast("Kernel", kernel)).find("web", ALICE))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    kernel.answering.set()
