"""A tunnel of a lab's namespace, whose other end is a file of this process: what is sent into it can be read there."""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import Lab

_DEVICE = Path("/dev/net/tun")
_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_TUN, _NO_PI = 0x0001, 0x1000


@contextmanager
def tunnel(lab: Lab, name: str, *addresses: str, inside: str = "host") -> Iterator[int]:
    """A tunnel `name` there, up and with these addresses (`10.8.0.2/24`), for the time of a block.

    Gives the descriptor of its other end, which does not block.
    """
    if not os.access(_DEVICE, os.R_OK | os.W_OK):
        pytest.skip(f"this machine has no {_DEVICE} for this user")
    made = lab.call(inside, _open, name)
    try:
        lab.run(inside, ["ip", "link", "set", name, "up"])
        for address in addresses:
            at_once = ["nodad"] if ":" in address else []
            lab.run(inside, ["ip", "address", "add", address, "dev", name, *at_once])
        yield made
    finally:
        os.close(made)


def _open(name: str) -> int:
    made = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    fcntl.ioctl(made, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _TUN | _NO_PI))
    return made
