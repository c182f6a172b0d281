"""Whose requests are done at a time."""

from __future__ import annotations

import asyncio

import pytest

from moorage.rpc.turns import Turns

ROOT, ALICE, BOB, CAROL = 0, 4001, 4002, 4003


class Crowd:
    """Requests that take turns, and end when they are told to."""

    def __init__(self, turns: Turns) -> None:
        """None yet."""
        self._turns = turns
        self._ends: list[tuple[int, asyncio.Event]] = []
        self._tasks: list[asyncio.Task[None]] = []

    def ask(self, uid: int, count: int = 1) -> None:
        """Let so many of a uid begin when they may."""
        self._tasks += [asyncio.ensure_future(self._work(uid)) for _ in range(count)]

    async def doing(self) -> list[int]:
        """Whose are done at the moment, in the order they began."""
        for _ in range(3):
            await asyncio.sleep(0)
        return [uid for uid, _ in self._ends]

    async def end(self, uid: int) -> list[int]:
        """End the first of that uid's, and tell whose are done then."""
        first = next(each for each in self._ends if each[0] == uid)
        self._ends.remove(first)
        first[1].set()
        return await self.doing()

    async def end_all(self) -> None:
        """Let all come to their end."""
        while await self.doing():
            await self.end(self._ends[0][0])
        assert all(task.done() for task in self._tasks)

    async def _work(self, uid: int) -> None:
        async with self._turns.turn(uid):
            end = asyncio.Event()
            self._ends.append((uid, end))
            await end.wait()

    def cancel(self, index: int) -> None:
        """Cancel one."""
        self._tasks[index].cancel()


def test_one_uid_has_its_turns_and_no_more() -> None:
    """However many one uid asks, so many are done at a time, and another's begins at once."""

    async def run() -> None:
        crowd = Crowd(Turns({ROOT}, each=2, together=10))
        crowd.ask(ALICE, 5)
        assert await crowd.doing() == [ALICE] * 2
        crowd.ask(BOB)
        assert await crowd.doing() == [ALICE, ALICE, BOB]
        assert await crowd.end(ALICE) == [ALICE, BOB, ALICE]
        await crowd.end_all()

    asyncio.run(run())


def test_trusted_ones_never_wait() -> None:
    """Root's begin whoever else has turns, and take none of theirs."""

    async def run() -> None:
        crowd = Crowd(Turns({ROOT}, each=1, together=1))
        crowd.ask(ALICE)
        crowd.ask(ROOT, 5)
        assert await crowd.doing() == [ALICE] + [ROOT] * 5
        await crowd.end_all()

    asyncio.run(run())


def test_uids_take_turns() -> None:
    """Where all turns are taken the next is that of the uid which has the fewest, not of who asked most."""

    async def run() -> None:
        crowd = Crowd(Turns(each=3, together=3))
        crowd.ask(ALICE, 9)
        crowd.ask(BOB, 9)
        crowd.ask(CAROL)
        assert await crowd.doing() == [ALICE] * 3
        assert await crowd.end(ALICE) == [ALICE, ALICE, BOB]
        assert await crowd.end(ALICE) == [ALICE, BOB, CAROL]
        assert await crowd.end(CAROL) == [ALICE, BOB, ALICE]
        await crowd.end_all()

    asyncio.run(run())


def test_what_is_done_at_once_takes_turns_too() -> None:
    """Requests that wait for nothing hold the loop up no longer than those of one turn each take."""

    async def run() -> None:
        turns = Turns(each=2)
        done: list[int] = []

        async def work(uid: int) -> None:
            async with turns.turn(uid):
                done.append(uid)

        tasks = [asyncio.ensure_future(work(ALICE)) for _ in range(100)]
        tasks.append(asyncio.ensure_future(work(BOB)))
        await tasks[-1]
        assert done.count(ALICE) <= 4
        await asyncio.gather(*tasks)

    asyncio.run(run())


@pytest.mark.parametrize("index", [0, 1])
def test_a_turn_that_nobody_wants_any_more_is_not_lost(index: int) -> None:
    """One that is cancelled, while it waits or is done, leaves its turn to the next."""

    async def run() -> None:
        crowd = Crowd(Turns(each=1, together=1))
        crowd.ask(ALICE, 3)
        assert await crowd.doing() == [ALICE]
        crowd.cancel(index)
        assert len(await crowd.doing()) == 1 + (index == 0)
        await crowd.end_all()

    asyncio.run(run())


def test_one_cancelled_as_it_is_given_its_turn_leaves_it() -> None:
    """A turn that was given, and not taken yet, is passed on."""

    async def run() -> None:
        turns = Turns(each=1, together=1)
        crowd = Crowd(turns)
        crowd.ask(ALICE, 3)
        await crowd.doing()
        ends = crowd._ends[0][1]
        ends.set()
        await asyncio.sleep(0)
        crowd._ends.clear()
        crowd.cancel(1)
        assert await crowd.doing() == [ALICE]
        await crowd.end_all()

    asyncio.run(run())
