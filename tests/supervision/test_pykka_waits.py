"""Where stock pykka waits for ever, or holds up others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pykka
import pytest


class Caller(pykka.ThreadingActor):
    """Calls what it is sent."""

    def on_receive(self, message: Any) -> Any:
        return message(self)


def test_self_ask_deadlocks() -> None:
    """An actor that asks itself waits for ever."""
    ref = Caller.start()
    with pytest.raises(pykka.Timeout):
        ref.ask(lambda actor: actor.actor_ref.ask("me", timeout=0.05))


def test_mutual_ask_deadlocks() -> None:
    """Two actors that ask each other wait for ever."""
    one, other = Caller.start(), Caller.start()
    with pytest.raises(pykka.Timeout):
        one.ask(lambda _: other.ask(lambda _: one.ask("you", timeout=0.05)))


def test_await_blocks_the_event_loop() -> None:
    """Awaiting a future of pykka holds the whole loop until it is answered."""
    future: pykka.ThreadingFuture[str] = pykka.ThreadingFuture()
    order: list[str] = []

    async def waits() -> None:
        order.append(await future)

    async def other() -> None:
        for _ in range(3):
            await asyncio.sleep(0)
        order.append("other")

    async def both() -> None:
        timer.start()
        await asyncio.gather(waits(), other())

    timer = threading.Timer(0.05, future.set, ["answer"])
    asyncio.run(both())
    timer.join()
    assert order == ["answer", "other"]
