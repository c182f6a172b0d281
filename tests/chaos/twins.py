"""A second process on the state, the socket and the kernel of an agent."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Self

from chaos.told import require
from chaos.victim import Victim
from moorage import Client


class Twin(Victim):
    """Another agent where one runs, stops, or was killed; `replacing` starts it with `--replace`."""

    def __init__(self, first: Victim, directory: Path, *, replacing: bool = False) -> None:
        """Nothing runs yet; log and orders are in `directory`."""
        directory.mkdir()
        super().__init__(directory, first.lab, socket=str(first.socket), state=str(first.state))
        self.state, self.socket, self.client = first.state, first.socket, Client(first.socket)
        self._replacing = replacing

    def __enter__(self) -> Self:
        """Start nothing yet; whatever runs in the end is killed."""
        return self

    def serves(self) -> bool:
        """Start it, and say whether it is ready. Raises AssertionError unless it was refused or killed else."""
        try:
            self.start()
        except AssertionError:
            require(self.status in {1, -signal.SIGKILL}, f"ended with {self.status}")
            return False
        return True

    def _argv(self) -> list[str]:
        return [*super()._argv(), *["--replace"] * self._replacing]
