"""Actors that hang in the message they take next, until they are let go."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

from agreement import actor
from moorage import Agent
from moorage.supervision.child import Child
from moorage.supervision.children import Running
from moorage.supervision.directory import Address
from moorage.supervision.loop import LoopActor
from moorage.supervision.messages import Tick

HOOKS = ("receive", "receive_batch")
PATIENCE = 0.05
"""Seconds after which the one that hangs is given up, instead of its half minute and more."""


class Hang:
    """One life that hangs; what waits in its mailbox waits with it."""

    def __init__(self, agent: Agent, name: str, *, stubborn: bool = False) -> None:
        """Let it hang from its next message on; a `stubborn` one does not end when its task is cancelled."""
        self._agent, self._name, self._stubborn = agent, name, stubborn
        self._actor = actor(agent, name)
        self.urn = self._actor.actor_urn
        self.reached, self.ended = threading.Event(), threading.Event()
        self.message: Any = None
        """What it hangs in: a message, or several at a time."""
        self.woke = False
        """Whether it went on, and was not cancelled."""
        self._gate = threading.Event()
        self._hurried: tuple[Running, Child] | None = None
        for hook in HOOKS:
            setattr(self._actor, hook, self._around(getattr(self._actor, hook)))

    def hurry(self) -> None:
        """Have its supervisor look after it, and be impatient."""
        assert self._agent._context is not None
        directory = self._agent._context.directory
        parent = next((each.parent for each in directory.entries() if each.name == self._name), None)
        if parent is None or (running := actor(self._agent, parent)._children.find(self._name)) is None:
            return
        if running.urn == self.urn and self._hurried is None:
            self._hurried = running, running.child
            running.child = replace(running.child, patience=PATIENCE, shutdown=PATIENCE)
        Address(directory, parent).tell(Tick())

    def let_go(self) -> None:
        """Let it wake up, and go on with what it was told before it hung."""
        if self._hurried is not None:
            running, child = self._hurried
            running.child = child
        self._gate.set()

    def _around(self, handler: Any) -> Any:
        async def hang(message: Any) -> Any:
            self.message = message
            self.reached.set()
            try:
                await self._wait()
                self.woke = True
                return await handler(message)
            finally:
                self.ended.set()

        return hang

    async def _wait(self) -> None:
        if not isinstance(self._actor, LoopActor):
            self._gate.wait()
        while not self._gate.is_set():
            try:
                await asyncio.sleep(PATIENCE / 10)
            except asyncio.CancelledError:
                if not self._stubborn:
                    raise
