"""Where log events go: to structlog as the program has set it up, else to the standard library's logging."""

from __future__ import annotations

import logging
from typing import Any

import structlog

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
        logger = structlog.get_logger() if structlog.is_configured() else _PLAIN
        return getattr(logger.bind(**self._fields), level)
