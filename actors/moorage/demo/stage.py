"""What the demonstration plays with: a host, the world outside it, containers, and a real agent."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from moorage.client import Client
from moorage.demo.account import Failed
from moorage.demo.namespaces import call_in, set_up
from moorage.kernel.linux.rtnetlink import open_iproute

HOST = "198.51.100.1"
"""This host's address on the link to the world outside (TEST-NET-2, RFC 5737)."""
OUTSIDE = "198.51.100.2"
PATIENCE = 30.0
"""Seconds for a process to begin or to end: ten times what an agent needs."""


class Guest:
    """A process in a network namespace of its own."""

    def __init__(self, name: str, *what: str) -> None:
        """Start it, and wait until it is ready."""
        self.name = name
        command = [sys.executable, "-m", "moorage.demo.guest", name, *what]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - Python itself
        self.pid = self._process.pid
        self._process.stdout.readline()  # type: ignore[union-attr]  # it is a pipe

    def end(self) -> None:
        """Kill it without warning, as containers die; a second time is no error."""
        self._process.kill()
        self._process.communicate()


class Agent:
    """`moorage agent` as a process, with its state and socket in `directory`."""

    flags: ClassVar[tuple[str, ...]] = ("--chaos",)

    def __init__(self, directory: Path) -> None:
        """Nothing is started yet."""
        self.socket = directory / "moorage.sock"
        self._state = directory / "state"
        self._log = directory / "log"
        self._notify = directory / "notify"
        self._process: subprocess.Popen[Any] | None = None

    def start(self) -> None:
        """Start it, and wait until it says READY=1."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready:
            self._notify.unlink(missing_ok=True)
            ready.bind(str(self._notify))
            ready.settimeout(0.2)
            self._process = self._launch(*self.flags)
            while not _is_told(ready):
                if self._process.poll() is not None:
                    raise Failed(f"the agent ended instead of getting ready:\n{self.log()}")

    def kill(self) -> None:
        """Kill it with SIGKILL, in the middle of whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE)

    def stop(self) -> int:
        """End it with SIGTERM and return its exit code."""
        assert self._process is not None  # noqa: S101 - it was started
        self._process.terminate()
        return self._process.wait(PATIENCE)

    def take_down(self) -> int:
        """Run `moorage agent --down` and return its exit code."""
        return self._launch("--down").wait(PATIENCE)

    def log(self) -> str:
        """The last lines that it logged."""
        return "\n".join(self._log.read_text().splitlines()[-20:]) if self._log.exists() else ""

    def _launch(self, *flags: str) -> subprocess.Popen[Any]:
        places = ("--state", str(self._state), "--socket", str(self.socket))
        command = [sys.executable, "-m", "moorage.cli", "agent", *places, *flags]
        environment = os.environ | {"NOTIFY_SOCKET": str(self._notify)}
        with self._log.open("ab") as log:
            return subprocess.Popen(command, stderr=log, env=environment)  # noqa: S603 - Python itself


class Stage:
    """Everything together; what was started is ended when the `with` statement is left."""

    def __init__(self) -> None:
        """Nothing is there yet."""
        self._exit = ExitStack()
        directory = Path(tempfile.mkdtemp(prefix="moorage-demo-"))
        self._exit.callback(shutil.rmtree, directory)
        self.agent = Agent(directory)
        self._exit.callback(self.agent.kill)
        self.client = self._exit.enter_context(Client(self.agent.socket))
        self.guests: dict[str, Guest] = {}
        self.sysctls: dict[str, str] = {}
        """What the settings of the network were before the agent came."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._exit.close()

    def add_container(self, name: str) -> Guest:
        """Start a container: servers in a namespace that has no network yet."""
        return self._add(Guest(name, "serve"))

    def add_outside(self) -> Guest:
        """Start a machine on a link of this host's, which it has for its router."""
        outside = self._add(Guest("outside"))
        with open_iproute() as ip:
            peer = {"ifname": "eth0", "net_ns_pid": outside.pid}
            ip.link("add", ifname="uplink", kind="veth", peer=peer)
        set_up("uplink", f"{HOST}/24")
        call_in(outside.pid, _be_outside)
        return outside

    def _add(self, guest: Guest) -> Guest:
        self._exit.callback(guest.end)
        self.guests[guest.name] = guest
        return guest


def _be_outside() -> None:
    set_up("eth0", f"{OUTSIDE}/24")
    with open_iproute() as ip:
        ip.route("add", dst="default", gateway=HOST)


def _is_told(ready: socket.socket) -> bool:
    try:
        return ready.recv(4096) == b"READY=1"
    except TimeoutError:
        return False
