"""Where log events go: to structlog as the program has set it up, else to the standard library's logging."""

from __future__ import annotations

import atexit
import json
import logging
import sys
from collections.abc import Callable, Mapping, MutableMapping
from functools import partial
from typing import Any

import structlog

from moorage.lines import Lines
from moorage.printable import printable, printable_lines

_PLAIN = structlog.wrap_logger(
    logging.getLogger("moorage"),
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.processors.format_exc_info,
        structlog.processors.KeyValueRenderer(key_order=["event"]),
    ],
    wrapper_class=structlog.stdlib.BoundLogger,
)
"""For an embedding program that knows nothing of structlog, whose default would print to its stdout."""


class Log:
    """A logger with some fields bound; who it writes to is looked up at each event."""

    __slots__ = ("_fields",)

    def __init__(self, **fields: Any) -> None:
        """Bind `fields` to every event."""
        self._fields = fields

    def __getattr__(self, level: str) -> Any:
        """The method of a level, such as `info`."""
        logger = _logger() if structlog.is_configured() else _PLAIN
        return partial(getattr(logger, level), **self._fields)


END = 1.0
"""Seconds at the end of the process for a reader who is slow."""


def set_up_logging(level: str) -> None:
    """Log structured lines to stderr, in colour on a terminal and as JSON elsewhere, other libraries' too.

    `write_on` is to be called now and then. Our own events do not go through `logging`, which takes three times as long
    for each.
    """
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    last = _rendering(terminal=sys.stderr.isatty())
    lines = Lines(sys.stderr)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: lines,
    )
    _pass_on_others(lines, number, shared, last)
    _Ready.lines = lines
    atexit.register(lines.close, END)


def write_text(text: str) -> None:
    """Write lines that are no event."""
    if (lines := _Ready.lines) is not None:
        lines.write(text)


def write_on() -> None:
    """Write what waits for a reader of the log, and say how much is missing."""
    if (lines := _Ready.lines) is None:
        return
    lines.flush()
    if lost := lines.lost():
        Log().warning("log_lines_lost", lines=lost)


def _rendering(*, terminal: bool) -> list[Any]:
    if terminal:
        console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        return [structlog.processors.format_exc_info, _for_terminal, console]
    encode = json.JSONEncoder(default=repr).encode
    return [structlog.processors.format_exc_info, partial(_render, encode)]


def _for_terminal(_logger: Any, _level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A terminal obeys escape sequences, and fields quote what others wrote; what is no text is shown by `repr`."""
    for key, value in event.items():
        if isinstance(value, str):
            event[key] = printable_lines(value) if key == "exception" else printable(value)
    return event


def _render(encode: Callable[[Any], str], _logger: Any, _level: str, event: Mapping[str, Any]) -> str:
    return encode(event)


def _pass_on_others(lines: Lines, level: int, shared: list[Any], last: list[Any]) -> None:
    """Write what others log in the same form."""
    handler = logging.StreamHandler(lines)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(capture=True)


class _Ready:
    """The logger of the present configuration, made once for each."""

    made_for: tuple[Any, ...] = (None, None, None)
    logger: Any = None
    lines: Lines | None = None


def _logger() -> Any:
    present = structlog.get_config()
    made_for = present["processors"], present["wrapper_class"], present["logger_factory"]
    if any(now is not then for now, then in zip(made_for, _Ready.made_for, strict=True)):
        _Ready.logger, _Ready.made_for = structlog.get_logger().bind(), made_for
    return _Ready.logger
