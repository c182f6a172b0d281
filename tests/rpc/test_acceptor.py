"""Accepting clients on asyncio's loop."""

from __future__ import annotations

import asyncio
import socket

from moorage.rpc.acceptor import Acceptor


def test_who_was_accepted_is_there_when_it_is_closed() -> None:
    """A client accepted just before the end has its protocol by then, which can end it."""
    asyncio.run(close_in_the_middle())


async def close_in_the_middle() -> None:
    made: list[asyncio.BaseTransport] = []

    class Recorder(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        acceptor = Acceptor(listener, Recorder)
        client.connect(listener.getsockname())
        acceptor._accept()
        assert made == []
        await acceptor.close()
        assert len(made) == 1
        made[0].close()
        await asyncio.sleep(0)
