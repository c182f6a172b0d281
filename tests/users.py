"""Other users of the host, as whom tests look at files and ask agents."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

EVE, GROUP, OTHER = 4711, 4712, 4713
"""A user, her group, and another one, none of whom any host has."""

_RUN = """
import json, os, stat, sys
sys.path[:] = json.loads(sys.argv[1])
from moorage.errors import MoorageError
from moorage.rpc.connection import Connection
uid, gid, *groups = map(int, sys.argv[2:])
os.setgroups(groups); os.setgid(gid); os.setuid(uid)

def look(path):
    try:
        return oct(os.stat(path).st_mode)
    except OSError as error:
        return error.errno

def ask(socket, method, params):
    connection = Connection(socket, 10.0)
    try:
        return connection.call(method, params)
    except MoorageError as error:
        return str(error)
    finally:
        connection.close()

for line in sys.stdin:
    what, *rest = json.loads(line)
    print(json.dumps({"look": look, "ask": ask}[what](*rest)), flush=True)
"""


class User:
    """A process of another user that does what it is told. A context manager; skips where nobody can be another."""

    def __init__(self, uid: int = EVE, gid: int = EVE, *groups: int) -> None:
        if os.geteuid() != 0 or "4294967295" not in Path("/proc/self/uid_map").read_text():
            pytest.skip("becoming another user needs to be root of the host")
        argv = [sys.executable, "-c", _RUN, json.dumps(sys.path), *map(str, (uid, gid, *groups))]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with closing(self._process.stdout):
            self._process.stdin.close()
            self._process.wait(10)

    def look(self, path: str) -> str | int:
        """The mode of what is there, or the number of the error that the user gets."""
        found: str | int = self._do("look", path)
        return found

    def ask(self, socket: Path, method: str, **params: Any) -> Any:
        """An answer in wire values, or the text of an error."""
        return self._do("ask", str(socket), method, params)

    def _do(self, *what: str | Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


def open_directory(name: str) -> Iterator[Path]:
    """A directory that every user can reach, which those of tests are not; for a fixture."""
    directory = Path(f"/run/{name}-{os.getpid()}")
    directory.mkdir(mode=0o755)
    yield directory
    subprocess.run(["umount", "-q", *map(str, directory.rglob("*.ns"))], check=False)
    subprocess.run(["rm", "-rf", str(directory)], check=True)
