"""The agent as a service: signals, logs, and word to the service manager."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from types import FrameType
from typing import Any

import structlog

from moorage.agent import Agent
from moorage.config import Config
from moorage.errors import MoorageError
from moorage.log import Log
from moorage.removal import remove_all

SWITCH = 0.001
"""Seconds a thread computes before another may: answers hop between threads, and 5 ms a hop would be felt."""

YOUNG = 50_000
"""New objects between collections of garbage (Python's own: 700). What is in use grows by 8,000 actors without any
of it being garbage, and looking for some took a third of the CPU of an `allocate`."""

log = Log()


def run(config: Config) -> int:
    """Run an agent until SIGTERM or SIGINT; 0 after those, 1 when it cannot start or its tree gave up."""
    set_up_logging(config.log_level)
    sys.setswitchinterval(SWITCH)
    gc.set_threshold(YOUNG, 20, 50)
    _raise_descriptor_limit()
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    agent = Agent(replace(config, socket=config.socket_path))
    stopping = threading.Event()
    _on_signals(stopping.set)
    try:
        agent.start()
    except MoorageError as error:
        print(f"moorage: {error}", file=sys.stderr)
        return 1
    log.info("agent_started", socket=str(agent.socket), state=str(config.state_path), kernel=config.kernel)
    _notify("READY=1")
    return _serve(agent, stopping)


def down(config: Config) -> int:
    """Remove all that an agent with this configuration ever made."""
    set_up_logging(config.log_level)
    try:
        remove_all(config)
    except MoorageError as error:
        print(f"moorage: {error}", file=sys.stderr)
        return 1
    return 0


def set_up_logging(level: str) -> None:
    """Log structured lines to stderr, in colour on a terminal and as JSON elsewhere, other libraries' too."""
    terminal = sys.stderr.isatty()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    logging.captureWarnings(capture=True)


def _serve(agent: Agent, stopping: threading.Event) -> int:
    while not stopping.wait(0.2):
        if agent.ended.is_set():
            log.critical("agent_gave_up", reason=repr(agent.reason))
            return 1
    _notify("STOPPING=1")
    agent.stop()
    log.info("agent_stopped")
    return 0 if agent.reason is None else 1


def _on_signals(stop: Callable[[], None]) -> None:
    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)


def _notify(state: str) -> None:
    """Tell the service manager, if there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.connect("\0" + address[1:] if address.startswith("@") else address)
            sock.sendall(state.encode())
        except OSError as error:
            log.warning("notify_failed", reason=str(error))


def _raise_descriptor_limit() -> None:
    """A listener for each published port, and two descriptors for each proxied connection."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
