"""A client that gives its requests no string of their own."""

from __future__ import annotations

from typing import Any

from moorage import Client
from moorage.methods import Methods
from moorage.rpc.connection import Connection


class Plain(Client):
    """Asks as a program would that knows nothing of `request`, each time on a connection of its own.

    Nothing is repeated: after Fault and Unreachable it is unknown whether something was done.
    """

    def _call(self, method: str, params: dict[str, Any]) -> Any:
        connection = Connection(self.path, self._timeout)
        try:
            return connection.call(method, params)
        finally:
            connection.close()


def plain(methods: Methods) -> Methods:
    """The same agent, asked without strings: an embedded one adds none."""
    return Plain(methods.path) if isinstance(methods, Client) else methods
