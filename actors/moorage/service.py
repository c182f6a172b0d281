"""The agent as a service: signals, logs, and word to the service manager."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from types import FrameType

from moorage.agent import START, STOP, Agent
from moorage.config import Config
from moorage.control.estate import Estate
from moorage.descriptors import LOW, limit
from moorage.errors import Code, Refused
from moorage.handover import Door, Links, Predecessor, Successor
from moorage.inheritance import Inheritance
from moorage.log import Log, set_up_logging, write_on
from moorage.manager import Manager, passed
from moorage.removal import remove_all
from moorage.stacks import tell_on

SWITCH = 0.001
"""Seconds a thread computes before another may: answers hop between threads, and 5 ms a hop would be felt."""
LOOK = 0.2
"""Seconds between looks at what wakes nobody: a tree that gave up, connections that ended."""

SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1})
"""That an agent heeds."""
DESCRIPTORS = 128
"""With fewer it does nothing: its own, with the threads' and libraries', are about sixty, and some stay in reserve."""

YOUNG = 50_000
"""New objects between collections of garbage (Python's own: 700). What is in use grows by 8,000 actors without any
of it being garbage, and looking for some took a third of the CPU of an `allocate`."""

log = Log()


class Stopping:
    """Whether SIGTERM or SIGINT has come; `descriptor` is readable then."""

    def __init__(self) -> None:
        """Take both signals from now on. For the main thread."""
        self.descriptor = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self.requested = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        # A terminal that closes, or somebody who means "read your configuration again", which is read at the start.
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)
        # Who started this process may have had them blocked, and what is blocked is inherited.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        os.eventfd_write(self.descriptor, 1)


def run(config: Config, *, replacing: bool = False) -> int:
    """Run an agent until SIGTERM or SIGINT; 0 after those, 1 when its tree gave up. Raises MoorageError at its start.

    `replacing` takes over from the agent that runs on the same state, if there is one; and one that replaces
    this agent ends it with 0 too.
    """
    set_up_logging(config.log_level)
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(YOUNG, 20, 50)
    _raise_descriptor_limit()
    LOW.take()
    tell_on(signal.SIGUSR1)
    agent = Agent(replace(config, socket=config.socket_path))
    manager, stopping = Manager(), Stopping()
    with _uncollected():
        links = _start(agent, manager, replacing=replacing)
    door = Door(config.state_path)
    log.info("agent_started", socket=str(agent.socket), state=str(config.state_path), kernel=config.kernel)
    manager.tell("READY=1")
    return _serve(agent, door, links, manager, stopping)


def down(config: Config) -> int:
    """Remove all that an agent with this configuration ever made, and return 0. Raises MoorageError."""
    set_up_logging(config.log_level)
    remove_all(config)
    return 0


def _start(agent: Agent, manager: Manager, *, replacing: bool) -> Links:
    state = agent.config.state_path
    predecessor = Predecessor.find(state, STOP) if replacing else None
    if predecessor is None:
        agent.start(Inheritance(passed(), _store(manager)))
        return Links()
    links = predecessor.links
    sockets = [*predecessor.sockets, *passed()]
    agent.start(Inheritance(sockets, _store(manager), links.disconnect))
    predecessor.ready()
    return links


def _serve(agent: Agent, door: Door, links: Links, manager: Manager, stopping: Stopping) -> int:
    while (successor := _successor(agent, door, stopping)) is not None:
        estate = agent.hand_over()
        if successor.give([*estate.sockets, *links.sockets], START, estate.disconnect):
            return _drain(estate, successor, stopping, agent.config.drain)
        log.error("replacement_failed")
        successor.close()
        links.here.append(estate.disconnect)
        agent.start(Inheritance(estate.copies(), _store(manager), links.disconnect))
        estate.retire()
        door = Door(agent.config.state_path)
    if agent.ended.is_set():
        log.critical("agent_gave_up", reason=repr(agent.reason))
        return 1
    manager.tell("STOPPING=1")
    agent.stop()
    log.info("agent_stopped")
    return 0 if agent.reason is None else 1


def _successor(agent: Agent, door: Door, stopping: Stopping) -> Successor | None:
    """Wait for another agent that takes over; None when this one is to stop, or its tree gave up."""
    with door:
        while not (stopping.requested or agent.ended.is_set()):
            if (successor := door.wait(stopping.descriptor, LOOK)) is not None:
                return successor
            write_on()
            with suppress(OSError):  # what was removed is not there again yet
                door.renew()
    return None


def _drain(estate: Estate, successor: Successor, stopping: Stopping, seconds: float) -> int:
    """Carry connections on until they end, or for `seconds`, or until this process is to stop."""
    estate.retire()
    log.info("agent_replaced", connections=estate.connections)
    deadline = time.monotonic() + seconds
    while estate.connections and not stopping.requested and time.monotonic() < deadline:
        successor.listen(estate.disconnect, LOOK)
        write_on()
    log.info("agent_stopped", connections=estate.connections)
    estate.close()
    successor.close()
    return 0


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no garbage while all that is made stays."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def _store(manager: Manager) -> Manager | None:
    return manager if manager.stores else None


def _raise_descriptor_limit() -> None:
    """A listener for each published port, and two descriptors for each proxied connection. Raises Refused (limit)."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if (most := limit()) < DESCRIPTORS:
        text = f"the agent may have {most} descriptors, and needs {DESCRIPTORS}: raise LimitNOFILE, or `ulimit -n`"
        raise Refused(Code.LIMIT, text)
