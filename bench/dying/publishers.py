"""Who publishes a container's ports in user space: the agent's proxies, or a docker-proxy for each port."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from typing import Protocol

from plane.place import Stage
from plane.proxies import docker_port
from service import Service

from moorage import Client

SUBNET = "10.98.0.1/16"
CONTAINER = "web"
_serial = count(1)


class Publisher(Protocol):
    """A host with one container, whose ports are published under their own numbers on loopback."""

    name: str
    stage: Stage

    @property
    def pids(self) -> Sequence[int]:
        """The processes that carry the bytes."""

    def publish(self, ports: Iterable[int]) -> None:
        """Publish more TCP ports."""

    def kill(self) -> None:
        """Kill what carries the bytes."""

    def restart(self) -> bool:
        """Start it again, where there is somebody who does that."""

    def close(self) -> None:
        """End it all."""


class Moorage:
    """An agent; its process is the only one. With `kernel` bytes need not pass through it."""

    def __init__(self, directory: Path, *, kernel: bool = False) -> None:
        """Start it with a container attached."""
        self.name = "moorage-kernel" if kernel else "moorage"
        home = directory / f"{self.name}-{next(_serial)}"
        home.mkdir()
        self._exit = ExitStack()
        self.stage = self._exit.enter_context(Stage(self.name))
        loopback = "kernel" if kernel else "proxy"
        self._service = Service(self.stage.room, home, subnet=SUBNET, loopback=loopback)
        self._exit.enter_context(self._service)
        self._client = self._exit.enter_context(Client(self._service.socket))
        self._client.allocate(CONTAINER, netns=str(self.stage.container.path))

    @property
    def pids(self) -> Sequence[int]:
        """The agent."""
        return [self._service.pid]

    def publish(self, ports: Iterable[int]) -> None:
        """Publish more TCP ports."""
        specs = [f"127.0.0.1:{port}:{port}" for port in ports]
        if specs:
            self._client.publish(CONTAINER, specs)

    def kill(self) -> None:
        """Kill the agent."""
        self._service.kill()

    def restart(self) -> bool:
        """Start another with the same state, as the service manager does."""
        self._service.__enter__()
        return True

    def close(self) -> None:
        """End it all."""
        self._exit.close()


class DockerProxy:
    """A process for each port, as dockerd starts them, which alone would start them again."""

    def __init__(self, name: str) -> None:
        """Connect a container."""
        self.name = name
        self._exit = ExitStack()
        self.stage = self._exit.enter_context(Stage(self.name))
        self._inside = self.stage.bridge()
        self._pids: list[int] = []

    @property
    def pids(self) -> Sequence[int]:
        """All of them."""
        return self._pids

    def publish(self, ports: Iterable[int]) -> None:
        """Start one for each port."""
        self._pids += [docker_port(self.name, self.stage.host, "tcp", self._inside, port) for port in ports]

    def kill(self) -> None:
        """Kill them."""
        for pid in self._pids:
            os.kill(pid, signal.SIGKILL)

    def restart(self) -> bool:
        """Nobody does while dockerd is as it was."""
        return False

    def close(self) -> None:
        """End it all."""
        self._exit.close()


def publisher(name: str, directory: Path) -> Publisher:
    """Start one by its name. Raises plane.packages.Missing where docker-proxy cannot be had."""
    match name:
        case "moorage" | "moorage-kernel":
            return Moorage(directory, kernel=name == "moorage-kernel")
        case _:
            return DockerProxy(name)
