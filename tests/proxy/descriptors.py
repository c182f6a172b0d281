"""Run as a program: a data plane with room for two connections. Argument: the backend's port on 127.0.0.1.

Prints the port it serves; then answers each line of standard input with how often its thread has woken up.
"""

from __future__ import annotations

import os
import resource
import sys

from moorage.proxy.listeners import open_listeners
from moorage.proxy.plane import DataPlane

ROOM = 4
"""Descriptors: two connections of two sockets each."""


def main() -> None:
    plane = DataPlane()
    plane.start()
    sockets = open_listeners("tcp", "127.0.0.1", 0, 1, dual=False)
    port = sockets[0].getsockname()[1]
    plane.serve("tcp", sockets, "127.0.0.1", [int(sys.argv[1])])
    leave_room()
    print(port, flush=True)  # what the test reads
    for _ in sys.stdin:
        print(plane.turns, flush=True)
    plane.close()


def leave_room() -> None:
    held = [os.dup(0) for _ in range(100)]
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(held) + 1, hard))
    for fd in held[:ROOM]:
        os.close(fd)


if __name__ == "__main__":
    main()
