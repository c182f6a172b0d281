"""Who asks whether holders have ended: one look for all who ask at the same time."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

import pytest

from agreement import StartAgent
from moorage.control import gone, journal
from moorage.control.gone import Collector
from moorage.control.journal import Count, GetInterfaces
from moorage.control.links import Collect, FindGone
from moorage.errors import Code, Refused
from moorage.supervision.directory import Address
from store.samples import interface


class Actors:
    """A journal and links in one, which note what they are asked, and answer the journal's questions when told to."""

    def __init__(self, *dead: str) -> None:
        self.dead = set(dead)
        self.questions: list[tuple[str, ...]] = []
        self.collected: list[str] = []
        self.may = asyncio.Event()
        self.may.set()

    async def ask(self, message: Any) -> Any:
        match message:
            case GetInterfaces(ids=ids):
                self.questions.append(ids or ())
                await self.may.wait()
                return [replace(interface(each), netns=f"/run/netns/{each}") for each in ids or ()]
            case FindGone(interfaces):
                return [each.id for each in interfaces if each.id in self.dead]
        raise NotImplementedError(message)

    async def tell(self, interface_id: str, message: Collect) -> None:
        self.collected.append(interface_id)
        self.dead.discard(interface_id)

    def collector(self) -> Collector:
        return Collector(lambda _name: self, self.tell)  # type: ignore[arg-type,return-value]  # they ask alike


async def begun(*questions: Any) -> list[asyncio.Future[bool]]:
    """These, each as far as it goes before it waits."""
    tasks = [asyncio.ensure_future(each) for each in questions]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


def test_who_asks_at_the_same_time_shares_a_look() -> None:
    """However many ask while a look is under way, one more is made for all of them, after it."""

    async def run() -> None:
        actors = Actors("b")
        collector = actors.collector()
        actors.may.clear()
        first = await begun(collector.collect(["a"]))
        others = await begun(*(collector.collect(["a", "b"]) for _ in range(100)), collector.collect(["c"]))
        assert actors.questions == [("a",)]
        actors.may.set()
        assert await asyncio.gather(*first, *others) == [False, *[True] * 100, False]
        assert (actors.questions, actors.collected) == ([("a",), ("c", "a", "b")], ["b"])

    asyncio.run(run())


def test_few_holders_are_looked_at_before_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for few is answered, though others ask at the same time for more than are looked at."""
    monkeypatch.setattr(gone, "MOST", 5)

    async def run() -> None:
        actors = Actors("mine")
        collector = actors.collector()
        many = [str(number) for number in range(20)]
        assert await asyncio.gather(collector.collect(many), collector.collect(["mine"])) == [False, True]
        assert actors.questions == [("mine", "0", "1", "2", "3")]

    asyncio.run(run())


def test_who_asks_no_more_leaves_the_others_their_answer() -> None:
    """A request that is cancelled takes nobody's look with it."""

    async def run() -> None:
        actors = Actors("a")
        collector = actors.collector()
        actors.may.clear()
        one, other = await begun(collector.collect(["a"]), collector.collect(["a"]))
        one.cancel()
        actors.may.set()
        assert await other

    asyncio.run(run())


def test_what_cannot_be_found_out_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """While the journal restarts nobody is collected, and the next who ask have a look of their own."""

    async def run() -> None:
        actors = Actors("a")
        collector = actors.collector()

        async def refuse(_message: Any) -> Any:
            raise Refused(Code.UNAVAILABLE, "it restarts")

        with monkeypatch.context() as patch:
            patch.setattr(actors, "ask", refuse)
            assert not await collector.collect(["a"])
        assert await collector.collect(["a"])

    asyncio.run(run())


def test_what_reads_everything_is_read_once_for_a_batch(
    start_agent: StartAgent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Questions for everything that wait together are answered by one reading, and nobody is given another's list."""
    agent = start_agent()
    agent.allocate("web")
    address = Address(agent._context.directory, "journal")
    read, reading, may = [], threading.Event(), threading.Event()
    real = journal._read

    def slowly(store: Any, query: Any) -> Any:
        read.append(query)
        reading.set()
        assert may.wait(10)
        return real(store, query)

    monkeypatch.setattr(journal, "_read", slowly)
    first = address.ask(journal.GetNetwork("default"))
    assert reading.wait(10)
    replies = [address.ask(query) for _ in range(20) for query in (Count(), GetInterfaces(ids=("web",)))]
    may.set()
    first.wait()
    counts, lists = [each.wait() for each in replies[::2]], [each.wait() for each in replies[1::2]]
    assert counts == [(1, 1, 0)] * 20
    assert [each.id for (each,) in lists] == ["web"] * 20
    assert len({id(each) for each in lists}) == 20
    assert (read.count(Count()), read.count(GetInterfaces(ids=("web",)))) == (1, 1)
