"""How much of what clients send is looked at in one turn of the loop."""

from __future__ import annotations

import asyncio

from moorage.rpc.pace import EACH, TOGETHER, Pace

ROOT, ALICE, BOB = 0, 4001, 4002


class Client:
    """A client that has read something, and notes when it is looked at."""

    def __init__(self, uid: int, name: str, looked_at: list[str]) -> None:
        self.uid = uid
        self._name, self._looked_at = name, looked_at

    def read(self, pace: Pace, amount: int = EACH) -> None:
        if pace.take(self, amount):
            self.go_on()

    def go_on(self) -> None:
        self._looked_at.append(self._name)


def clients(uids: list[int]) -> tuple[list[Client], list[str]]:
    """Clients named by the uid and their number, and what was looked at so far."""
    looked_at: list[str] = []
    return [Client(uid, f"{uid}.{number}", looked_at) for number, uid in enumerate(uids)], looked_at


def test_one_uid_has_so_much_in_a_turn() -> None:
    """Of a crowd's bytes one client's are looked at in each turn, in the order they came."""

    async def run() -> None:
        pace = Pace({ROOT})
        crowd, looked_at = clients([ALICE] * 4)
        for each in crowd:
            each.read(pace)
        for turn in range(1, 5):
            assert looked_at == [f"{ALICE}.{number}" for number in range(turn)]
            await asyncio.sleep(0)

    asyncio.run(run())


def test_small_requests_of_many_clients_are_one_turns() -> None:
    """What is small is looked at at once, up to what a uid has in a turn."""

    async def run() -> None:
        pace = Pace({ROOT})
        crowd, looked_at = clients([ALICE] * 10)
        for each in crowd:
            each.read(pace, EACH // 8)
        assert len(looked_at) == 8
        await asyncio.sleep(0)
        assert len(looked_at) == 10

    asyncio.run(run())


def test_another_uid_does_not_wait_for_a_crowd() -> None:
    """Who waits, waits for clients of his own uid; whom the agent trusts waits for nobody."""

    async def run() -> None:
        pace = Pace({ROOT})
        crowd, looked_at = clients([ALICE, ALICE, BOB, ROOT, ROOT])
        for each in crowd:
            each.read(pace)
        assert looked_at == [f"{ALICE}.0", f"{BOB}.2", "0.3", "0.4"]

    asyncio.run(run())


def test_many_uids_take_turns() -> None:
    """All uids together have a bound, and go round."""

    async def run() -> None:
        pace = Pace({ROOT})
        uids = [5000 + number for number in range(6)]
        crowd, looked_at = clients(uids * 2)
        for each in crowd:
            each.read(pace)
        together = TOGETHER // EACH
        order = [f"{uid}.{number}" for number, uid in enumerate(uids * 2)]
        assert looked_at == order[:together]
        await asyncio.sleep(0)
        assert len(looked_at) == 2 * together
        for _ in range(3):
            await asyncio.sleep(0)
        assert sorted(looked_at) == sorted(order)

    asyncio.run(run())


def test_who_is_gone_takes_no_turn() -> None:
    """A client that went is not looked at, and the next has its turn."""

    async def run() -> None:
        pace = Pace({ROOT})
        crowd, looked_at = clients([ALICE] * 3)
        for each in crowd:
            each.read(pace)
        pace.forget(crowd[1])
        await asyncio.sleep(0)
        assert looked_at == [f"{ALICE}.0", f"{ALICE}.2"]
        pace.forget(crowd[0])

    asyncio.run(run())
