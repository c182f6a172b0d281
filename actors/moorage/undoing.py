"""What was there before a start, for one that is refused leaves nothing changed."""

from __future__ import annotations

import os
import sqlite3

from moorage.config import Config
from moorage.control.recovery import open_store
from moorage.errors import MoorageError
from moorage.kernel.protocol import Kernel
from moorage.log import Log
from moorage.removal import remove
from moorage.store import directory as directories
from moorage.store.lock import Lock
from moorage.taking import Folders

log = Log()


class Former:
    """Whether there was a state, and anything of an agent's in the kernel, before one started."""

    def __init__(self, config: Config) -> None:
        """Look which folders there are."""
        self._config = config
        self.folders = Folders(config.state_path, config.socket_path.parent)
        self._is_new = self._is_bare = False

    def look(self, kernel: Kernel) -> None:
        """Look for the rest, once nobody else changes it and before anything is made. Raises Refused (denied)."""
        self._is_new = not os.path.lexists(self._config.state_path / directories.DATABASE)
        self._is_bare = not kernel.made()

    def restore(self, kernel: Kernel, lock: Lock) -> None:
        """Remove what was made since, by a tree that is over. What was there before stays as it was made to be."""
        try:
            if self._is_bare and kernel.made():
                self._remove(kernel, lock)
            if self._is_new:
                directories.clear(self._config.state_path)
        except (MoorageError, OSError, sqlite3.Error) as error:
            log.warning("start_not_undone", reason=str(error), advice="moorage agent --down removes all")

    def _remove(self, kernel: Kernel, lock: Lock) -> None:
        store = open_store(self._config, kernel, lock, log)
        try:
            remove(self._config, kernel, store)
        finally:
            store.close()
