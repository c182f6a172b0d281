"""Runs an agent one of whose threads dies at SIGUSR2: `losing.py THREAD ARGUMENTS…`, the latter those of `moorage`."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from moorage import agent
from moorage.cli import main
from moorage.kernel.linux import generation, watch
from moorage.proxy.reactor import Reactor
from moorage.supervision.loop import EventLoop

ordered = threading.Event()


class Lost(BaseException):
    """What the thread dies of: not even what catches every Exception catches it."""


def dies(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, which raises once when that was ordered."""

    def either(*arguments: Any, **more: Any) -> Any:
        if ordered.is_set():
            ordered.clear()
            raise Lost("as ordered")
        return function(*arguments, **more)

    return either


def watch_rules() -> None:
    """The watcher of the rules, which looks every second."""
    generation.News.take = dies(generation.News.take)  # type: ignore[method-assign]  # of this process alone


def watch_links() -> None:
    """The watcher of the links, at the next change."""
    watch.Watch._hear = dies(watch.Watch._hear)  # type: ignore[method-assign]


def data_plane() -> None:
    """The data plane, at the next datagram or connection."""
    Reactor.turn = dies(Reactor.turn)  # type: ignore[method-assign]


def clock() -> None:
    """The clock, which looks for actors that hang."""
    agent.Tick = dies(agent.Tick)  # type: ignore[misc,assignment]


def loop() -> None:
    """The event loop of most actors: asyncio goes on after all but this, and an interrupt."""
    start = EventLoop.start

    def started(events: EventLoop) -> EventLoop:
        def end() -> None:
            ordered.wait()
            events.loop.call_soon_threadsafe(sys.exit, 3)

        threading.Thread(target=end, daemon=True).start()
        return start(events)

    EventLoop.start = started  # type: ignore[method-assign]


THREADS = {each.__name__: each for each in (watch_rules, watch_links, data_plane, clock, loop)}

if __name__ == "__main__":
    thread, *arguments = sys.argv[1:]
    THREADS[thread]()
    signal.signal(signal.SIGUSR2, lambda *_: ordered.set())
    sys.exit(main(arguments))
