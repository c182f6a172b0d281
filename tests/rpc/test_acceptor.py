"""Accepting clients on asyncio's loop."""

from __future__ import annotations

import asyncio
import socket

import pytest

from moorage import descriptors
from moorage.rpc import acceptor as acceptor_module
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


@pytest.mark.parametrize("trusted", [True, False])
def test_who_is_over_the_bound(monkeypatch: pytest.MonkeyPatch, trusted: bool) -> None:
    """Past the bound of descriptors only those are let in who are trusted; it is told once, until it is over."""
    monkeypatch.setattr(descriptors, "for_clients", lambda *, trusted=False: 1 << 20 if trusted else 0)
    monkeypatch.setattr(acceptor_module, "QUIET", 0.05)
    told: list[str] = []
    assert asyncio.run(come(3, told, trusted=trusted)) == 3 * trusted
    if trusted:
        assert told == []
    else:
        sentence, over = told
        assert "LimitNOFILE" in sentence
        assert over == ""


async def come(count: int, told: list[str], *, trusted: bool) -> int:
    """So many clients; how many have a protocol in the end."""
    made: list[asyncio.BaseTransport] = []
    over = asyncio.Event()

    class Recorder(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.append(transport)

    def tell(sentence: str) -> None:
        told.append(sentence)
        if not sentence:
            over.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        clients = [socket.create_connection(listener.getsockname()) for _ in range(count)]
        acceptor = Acceptor(listener, Recorder, trusts=lambda _client: trusted, tell=tell)
        acceptor._accept()
        if not trusted:
            await asyncio.wait_for(over.wait(), 10)
            assert [each.recv(1) for each in clients] == [b""] * count
        await acceptor.close()
        for transport in made:
            transport.close()
        for client in clients:
            client.close()
        await asyncio.sleep(0)
    return len(made)
