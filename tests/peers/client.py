"""Drives an agent by pynvim's MessagePack-RPC client, which knows nothing of moorage: SOCKET is its argument."""

from __future__ import annotations

import json
import sys
from typing import Any

from pynvim.msgpack_rpc.async_session import AsyncSession
from pynvim.msgpack_rpc.event_loop import EventLoop
from pynvim.msgpack_rpc.msgpack_stream import MsgpackStream
from pynvim.msgpack_rpc.session import Session


def main(path: str) -> None:
    # not by `socket_session`, which greets every server as Neovim, with a method name that is no string but bytes
    session = Session(AsyncSession(MsgpackStream(EventLoop("socket", path))))
    heard: list[Any] = []

    def ask(method: str, **params: Any) -> Any:
        return session.request(method, *([params] if params else []))

    def refused(method: str, **params: Any) -> Any:
        try:
            return ask(method, **params)
        except Exception as error:  # noqa: BLE001 - it raises no other
            return str(error)

    def converse() -> None:
        ask("subscribe", events=["interface_allocated", "interface_released"])
        told = {
            "hello": ask("hello"),
            "allocated": ask("allocate", id="peer", ports=["8080:80"], labels={"über": "grün"}),
            "published": ask("publish", id="peer", ports=["53/udp"]),
            "list": ask("list"),
            "error": refused("inspect", id="ghost"),
            "released": ask("release", id="peer"),
        }
        print(json.dumps(told | {"events": heard}))
        session.stop()

    session.run(lambda *_: None, lambda name, args: heard.append([name, args]), setup_cb=converse)


main(sys.argv[1])
