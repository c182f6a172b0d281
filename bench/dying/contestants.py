"""Who connects containers and is killed at it: the agent or its client, the plugins and what they execute."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol

from rooms import Container, Room
from service import Service

import peers
from dying.footprint import Footprint, footprint
from moorage import Client

SUBNET = "10.98.0.1/16"
CALLER = Path(__file__).with_name("caller.py")
GRACE = 3.0
"""Seconds for which peers are watched: nothing of theirs runs that could give anything back."""


class Contestant(Protocol):
    """Connects containers with two ports each, on a host of its own."""

    name: str
    grace: float
    """Seconds within which what ended containers had may still be given back."""

    def connect(self, container: Container, serial: int, moment: float | None = None) -> float | None:
        """Connect one; with `moment`, killed after so many seconds. The seconds it took, None when killed first.

        Raises peers.Failed.
        """

    def take_back(self, container: Container, serial: int, moment: float | None = None) -> float | None:
        """Take it back; as `connect`."""

    def footprint(self) -> Footprint:
        """What there is of all containers."""

    def close(self) -> None:
        """End it."""


class Moorage:
    """An agent and callers, each a process, of which the one or the other is killed in turns."""

    name = "moorage"
    grace = 75.0

    def __init__(self, directory: Path) -> None:
        """Start the agent."""
        home = directory / "moorage"
        home.mkdir()
        self._exit = ExitStack()
        self._room = Room()
        self._exit.callback(self._room.close)
        self._service = self._exit.enter_context(Service(self._room, home, subnet=SUBNET))
        self._turn = 0

    def connect(self, container: Container, serial: int, moment: float | None = None) -> float | None:
        """Allocate, attach and publish, in one request."""
        ports = [f"{host}:{inside}/{proto}" for host, inside, proto in peers.host_ports(serial)]
        params = {"id": container.name, "netns": str(container.path), "ports": ports}
        return self._call("allocate", params, moment)

    def take_back(
        self,
        container: Container,
        serial: int,  # noqa: ARG002 - the agent knows the ports
        moment: float | None = None,
    ) -> float | None:
        """Release it."""
        return self._call("release", {"id": container.name}, moment)

    def footprint(self) -> Footprint:
        """The interfaces that it lists are the addresses that are taken."""
        with Client(self._service.socket) as client:
            return footprint(self._room, len(client.list()))

    def close(self) -> None:
        """End the agent."""
        self._exit.close()

    def _call(self, method: str, params: dict[str, Any], moment: float | None) -> float | None:
        argv = [sys.executable, str(CALLER), str(self._service.socket)]
        pipe, silence = subprocess.PIPE, subprocess.DEVNULL
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=silence) as caller:
            assert caller.stdin is not None
            assert caller.stdout is not None
            caller.stdout.readline()
            began = time.perf_counter()
            caller.stdin.write(json.dumps([method, params]).encode() + b"\n")
            caller.stdin.flush()
            if moment is not None:
                time.sleep(moment)
                self._kill(caller)
            if caller.stdout.readline() == b"done\n":
                return time.perf_counter() - began
        if moment is None:
            raise peers.Failed(f"moorage could not {method} {params}")
        return None

    def _kill(self, caller: subprocess.Popen[bytes]) -> None:
        """The caller alone, or the agent and then the caller; another agent is started, as systemd does."""
        self._turn += 1
        if self._turn % 2:
            caller.kill()
            return
        self._service.kill()
        caller.kill()
        self._service.__enter__()


class Peer:
    """What netavark and the plugins have in common: the caller and all that it started are killed."""

    def __init__(self, name: str, inner: peers.Cni | peers.Netavark, grace: float) -> None:
        """Wrap the contestant of other benchmarks."""
        self.name = name
        self.grace = grace
        self._inner = inner

    def connect(self, container: Container, serial: int, moment: float | None = None) -> float | None:
        """ADD, or set-up."""
        return self._timed(self._inner.add, container, serial, moment)

    def take_back(self, container: Container, serial: int, moment: float | None = None) -> float | None:
        """DEL, or teardown."""
        return self._timed(self._inner.remove, container, serial, moment)

    def footprint(self) -> Footprint:
        """host-local has a file for each address; netavark's are chosen, and given back, by its caller."""
        return footprint(self._inner.room, self._addresses())

    def close(self) -> None:
        """Leave its host."""
        self._inner.close()

    def _timed(
        self, step: Callable[[Container, int], None], container: Container, serial: int, moment: float | None
    ) -> float | None:
        began = time.monotonic()
        self._inner.deadline = None if moment is None else began + moment
        with suppress(peers.Killed):
            step(container, serial)
            return time.monotonic() - began
        return None

    def _addresses(self) -> int:
        if isinstance(self._inner, peers.Netavark) or not self._inner.leases.is_dir():
            return 0
        return sum(_is_address(file.name) for file in self._inner.leases.iterdir())


def _is_address(name: str) -> bool:
    with suppress(ValueError):
        return bool(ip_address(name))
    return False


def enter(name: str, directory: Path, grace: float = GRACE) -> Contestant:
    """Start a contestant with a directory and a host of its own; `grace` is that of peers."""
    match name:
        case "moorage":
            return Moorage(directory)
        case _:
            return Peer(name, peers.enter(name, directory), grace)
