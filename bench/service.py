"""A real agent for a benchmark, and what it weighs."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from rooms import Room

START = 60.0
"""Seconds until an agent is ready."""


class Service:
    """`moorage agent` in a room, configured by keywords, with its state in `directory`. A context manager,
    which may be entered again after a `kill`.
    """

    def __init__(self, room: Room, directory: Path, **config: Any) -> None:
        """Write the configuration; nothing runs yet."""
        self.socket = directory / "agent.sock"
        self.log = directory / "log"
        self._room = room
        self._directory = directory
        self._config = directory / "config.toml"
        settings = {"socket": str(self.socket), "state": str(directory / "state")} | config
        # a JSON string, number or boolean is TOML as well
        self._config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        (self._directory / "notify").unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
            notify.bind(str(self._directory / "notify"))
            self._process = self._room.call(self._spawn, notify.getsockname())
            ready, _, _ = select.select([notify], [], [], START)
        if not ready:
            self._process.kill()
            raise SystemExit(f"the agent did not become ready:\n{self.log.read_text()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def kill(self) -> None:
        """Kill it, as nothing it could do anything about; entering starts another with the same state."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def _spawn(self, notify: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "moorage.cli", "agent", "--config", str(self._config)]
        environment = os.environ | {"NOTIFY_SOCKET": notify}
        with self.log.open("ab") as log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)

    @property
    def pid(self) -> int:
        """The process."""
        assert self._process is not None
        return self._process.pid

    def memory(self) -> tuple[int, int]:
        """Resident and proportional size in KiB."""
        rollup = Path(f"/proc/{self.pid}/smaps_rollup").read_text().splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in rollup[1:]}
        return sizes["Rss"], sizes["Pss"]

    def cpu(self) -> float:
        """Seconds of CPU that it has taken so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
