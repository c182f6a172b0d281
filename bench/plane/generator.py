"""The load generator: a small C program, compiled where it is needed."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plane.packages import Missing
from plane.place import Place

SOURCES = Path(__file__).with_name("load")
FLAGS = ("-O2", "-std=c11", "-Wall", "-Wextra")
PATIENCE = 20.0
"""Seconds beyond its own time after which a run is given up."""


class LoadError(Exception):
    """A run that did not end well: a wrong byte, a broken connection, silence."""


class Load:
    """The compiled program."""

    def __init__(self, directory: Path) -> None:
        """Compile it into `directory`. Raises Missing without a compiler."""
        compiler = shutil.which("cc")
        if compiler is None:
            raise Missing("the load generator is written in C: install a compiler called cc (gcc or clang)")
        self.program = str(directory / "load")
        subprocess.run([compiler, *FLAGS, "-o", self.program, *map(str, SOURCES.glob("*.c"))], check=True)

    def serve(self, place: Place, port: int) -> subprocess.Popen[bytes]:
        """Start the server in a container, and wait until it listens."""
        server = place.start([self.program, "serve", str(port)], stdout=subprocess.PIPE)
        assert server.stdout is not None
        if not server.stdout.readline():
            raise SystemExit("the server of the load generator did not start")
        return server

    def run(self, place: Place, argv: list[str], seconds: float) -> Mapping[str, Any]:
        """Run a client to its end; what it measured. Raises LoadError."""
        client = place.start([self.program, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            output, errors = client.communicate(timeout=seconds + PATIENCE)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            raise LoadError(f"no end after {seconds + PATIENCE:.0f} s") from None
        if client.returncode:
            raise LoadError(errors.decode(errors="replace").strip() or f"status {client.returncode}")
        measured: Mapping[str, Any] = json.loads(output)
        return measured

    def idle(self, place: Place, to: tuple[str, int], connections: int) -> subprocess.Popen[bytes]:
        """Open that many connections and keep them until `release`. Raises LoadError."""
        argv = [self.program, "idle", to[0], str(to[1]), str(connections)]
        pipe = subprocess.PIPE
        client = place.start(argv, stdin=pipe, stdout=pipe, stderr=pipe)
        assert client.stdout is not None
        ready, _, _ = select.select([client.stdout], [], [], PATIENCE)
        if not ready or not client.stdout.readline():
            client.kill()
            _, errors = client.communicate()
            raise LoadError(errors.decode(errors="replace").strip() or f"not all open after {PATIENCE:.0f} s")
        return client


def release(client: subprocess.Popen[bytes]) -> None:
    """Close the connections of an idle client, and wait for its end."""
    client.communicate()
