"""A real agent: the program itself, in a namespace of a lab, with a client of it."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import Lab
from moorage import Client
from moorage.errors import Unreachable

START = 30.0
"""Seconds until an agent is ready, on a machine that is busy with other things."""
STOP = 30.0
"""Seconds that systemd gives it to stop (`TimeoutStopSec` of config/moorage.service)."""
PATIENCE = 10.0
"""Seconds until something that follows an event has to have happened."""
STEP = 0.02
"""Seconds between looks at what sends no event; the first ones follow each other sooner."""

Event = dict[str, Any]


class AgentProcess:
    """`moorage agent` in a namespace of a lab: started, killed, stopped and started again on the same state.

    A context manager that starts it, and on the way out ends it however it may be. State, socket, configuration
    and log are in `directory`. The keywords are configuration keys.
    """

    def __init__(
        self,
        lab: Lab,
        directory: Path,
        *,
        inside: str = "host",
        environment: Mapping[str, str] | None = None,
        **config: Any,
    ) -> None:
        """Write the configuration; nothing runs yet. `environment` is added to that of the tests."""
        self.lab, self.directory, self.inside = lab, directory, inside
        self._environment = {key: value for key, value in os.environ.items() if key != "MOORAGE_SOCKET"}
        self._environment |= environment or {}
        self.socket = directory / "agent.sock"
        self.state = directory / "state"
        self.client = Client(self.socket)
        self._log = directory / "log"
        self._config = directory / "config.toml"
        settings = {"socket": str(self.socket), "state": str(self.state), "chaos": True} | config
        # a JSON string, number, boolean or array of these is TOML as well
        self._config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items()))
        self._process: subprocess.Popen[Any] | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()
        if self._process is not None:
            self.kill()

    @property
    def pid(self) -> int:
        """The process that runs."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> Self:
        """Start it and wait until it says READY=1; raises AssertionError with its log if it ends before."""
        assert self._process is None, "it runs already"
        with _notify_socket(self.directory / "notify") as notify:
            self._process = self._spawn(NOTIFY_SOCKET=notify.getsockname())
            if not _is_ready(notify, self.pid):
                self.kill()
                raise AssertionError(f"the agent did not become ready:\n{self._log.read_text()}")
        return self

    def terminate(self) -> int:
        """Send SIGTERM and return the exit status."""
        return self._end(signal.SIGTERM)

    def ended(self) -> int:
        """Wait until it has ended by itself, and return the exit status."""
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        return process.wait(STOP)

    def kill(self) -> int:
        """Send SIGKILL and return the exit status, -9 unless it had ended before."""
        return self._end(signal.SIGKILL)

    def replace(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it by that signal, start it again, and return the former's exit status."""
        status = self._end(how)
        self.start()
        return status

    def down(self) -> subprocess.CompletedProcess[str]:
        """Run `agent --down` with the same configuration to its end."""
        return self._finish("--down")

    def refusal(self) -> subprocess.CompletedProcess[str]:
        """Run the agent in vain: it says why, and ends by itself."""
        return self._finish()

    def _finish(self, *flags: str) -> subprocess.CompletedProcess[str]:
        argv = [*AgentProcess._argv(self), *flags]
        done: subprocess.CompletedProcess[str] = self.lab.call(
            self.inside,
            subprocess.run,
            argv,
            capture_output=True,
            text=True,
            timeout=STOP,
            check=False,
            env=self._environment,
        )
        return done

    def said(self) -> str:
        """All of the log, to be shown when something went wrong."""
        return self._log.read_text()

    def log(self, event: str) -> list[dict[str, Any]]:
        """The lines of the log about that event, those of former processes too."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line.get("event") == event]

    @contextmanager
    def events(self, *names: str) -> Iterator[Events]:
        """Collect events of these names, or all, while the block runs."""
        collected = Events(self.client, names)
        try:
            yield collected
        finally:
            collected.close()

    def _argv(self) -> list[str]:
        return [sys.executable, "-m", "moorage.cli", "agent", "--config", str(self._config)]

    def _spawn(self, **environment: str) -> subprocess.Popen[Any]:
        with self._log.open("a") as log:
            return self.lab.call(
                self.inside,
                subprocess.Popen,
                self._argv(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment | environment,
            )

    def _end(self, how: signal.Signals) -> int:
        process, self._process = self._process, None
        assert process is not None, "it does not run"
        process.send_signal(how)
        try:
            return process.wait(STOP)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


class Replaceable(AgentProcess):
    """An agent whose next process takes over while the former still runs."""

    def succeed(self) -> subprocess.Popen[Any]:
        """Start a successor, wait until it is ready, and return the predecessor's process."""
        predecessor, self._process = self._process, None
        assert predecessor is not None
        try:
            self.start()
        except BaseException:
            self._process = self._process or predecessor
            raise
        return predecessor

    def _argv(self) -> list[str]:
        return [*super()._argv(), "--replace"]


class Events:
    """What a subscriber was told, collected by a thread until `close`."""

    def __init__(self, client: Client, names: tuple[str, ...]) -> None:
        """Subscribe: what happens from now on is collected."""
        self.seen: list[Event] = []
        self._changed = threading.Condition()
        self._stream = client.subscribe(names or None)
        self._thread = threading.Thread(target=self._collect, name="events")
        self._thread.start()

    def wait(self, wanted: Callable[[Event], bool], timeout: float = PATIENCE) -> Event:
        """Return the first event of which `wanted` is true, waiting for it; raises AssertionError."""

        def first() -> Event | None:
            return next(filter(wanted, self.seen), None)

        with self._changed:
            found = self._changed.wait_for(first, timeout)
            assert found is not None, f"not told within {timeout} s; told were {self.seen}"
            return found

    def named(self, name: str, timeout: float = PATIENCE) -> Event:
        """Return the first event of that name, waiting for it; raises AssertionError."""
        return self.wait(lambda event: event["event"] == name, timeout)

    def close(self) -> None:
        """End the subscription; a second time does nothing."""
        self._stream.close()
        self._thread.join()

    def _collect(self) -> None:
        with suppress(Unreachable):  # the agent was ended
            for event in self._stream:
                with self._changed:
                    self.seen.append(event)
                    self._changed.notify_all()


def until(condition: Callable[[], object], timeout: float = PATIENCE) -> float:
    """Look until `condition` is true, for what sends no event; returns the seconds that took.

    Raises AssertionError after `timeout` seconds.
    """
    began = time.monotonic()
    pause = STEP / 8
    while not condition():
        assert time.monotonic() - began < timeout, f"not so within {timeout} s"
        select.select([], [], [], pause)
        pause = min(2 * pause, STEP)
    return time.monotonic() - began


@contextmanager
def _notify_socket(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(path))
        try:
            yield made
        finally:
            path.unlink()


def _is_ready(notify: socket.socket, pid: int) -> bool:
    """Wait for word or for the end of the process, whichever comes first."""
    process = os.pidfd_open(pid)
    try:
        readable, _, _ = select.select([notify.fileno(), process], [], [], START)
        return notify.fileno() in readable and notify.recv(100) == b"READY=1"
    finally:
        os.close(process)
