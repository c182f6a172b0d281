"""`python -m moorage.demo.guest NAME [serve]`: a process in a network namespace of its own.

A container with servers of its own, or, without `serve`, any machine of the world outside. It says "ready" and
ends when its standard input does.
"""

from __future__ import annotations

import hashlib
import random
import selectors
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from moorage.demo.namespaces import leave_network

HTTP = 80
UDP = (53, *range(9000, 9010))
DOWNLOAD = 64 << 20
"""Bytes: ten times what a connection's buffers hold, so that one who stops reading stops the server."""


def download() -> bytes:
    """What `/download` gives: the same bytes every time."""
    return random.Random(2013).randbytes(DOWNLOAD)  # noqa: S311 - to be told from zeros, not to be secret


def digest() -> str:
    """The SHA-256 of `/download`."""
    return hashlib.sha256(download()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Answers `NAME PORT CLIENT`, or `/download`."""

    name = ""

    def do_GET(self) -> None:
        """Answer one request."""
        body = download() if self.path == "/download" else self._words()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _words(self) -> bytes:
        return f"{self.name} {HTTP} {self.client_address[0]}".encode()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - named so by the base class
        """Stay silent."""


def serve(name: str) -> None:
    """Start the servers, in threads that end with the process; they listen when this returns."""
    Handler.name = name
    web = ThreadingHTTPServer(("", HTTP), Handler)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    threading.Thread(target=_echo, args=(name, [_bound(port) for port in UDP]), daemon=True).start()


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("", port))
    return sock


def _echo(name: str, sockets: list[socket.socket]) -> None:
    """Answer `NAME PORT CLIENT` to every datagram."""
    with selectors.DefaultSelector() as selector:
        for each in sockets:
            selector.register(each, selectors.EVENT_READ, each)
        while True:
            for key, _ in selector.select():
                _answer(name, key.data)


def _answer(name: str, sock: socket.socket) -> None:
    _, client = sock.recvfrom(65535)
    sock.sendto(f"{name} {sock.getsockname()[1]} {client[0]}".encode(), client)


def main(name: str, *what: str) -> None:
    """Be a guest until standard input ends."""
    leave_network()
    if "serve" in what:
        serve(name)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
