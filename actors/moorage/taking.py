"""Taking what one agent alone may have: the state directory, and the kernel's links and rules."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from moorage.config import Config
from moorage.kernel.protocol import Claim, Kernel
from moorage.store.lock import Lock, lock_directory


class Folders:
    """Those folders on the way to some that are not there yet."""

    def __init__(self, *folders: Path) -> None:
        """Look which are missing."""
        ways = [each for folder in folders for each in (folder, *folder.parents)]
        self._missing = [each for each in dict.fromkeys(ways) if not os.path.lexists(each)]

    def remove(self) -> None:
        """Remove those that were made meanwhile, unless something is in them."""
        for folder in sorted(self._missing, key=lambda each: len(each.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()


def take(config: Config, kernel: Kernel) -> tuple[Lock, Claim]:
    """Have the state directory and the kernel for one agent. Raises Refused: exists while another one has either."""
    folders = Folders(config.state_path)
    try:
        lock = lock_directory(config.state_path)
        try:
            return lock, kernel.claim()
        except BaseException:
            lock.give_up()
            raise
    except BaseException:
        folders.remove()
        raise


def open_kernel(config: Config) -> Kernel:
    """The kernel that a configuration names."""
    if config.kernel == "memory":
        from moorage.kernel.memory import MemoryKernel  # noqa: PLC0415 - whichever is not used is not loaded

        return MemoryKernel()
    from moorage.kernel.linux.kernel import LinuxKernel  # noqa: PLC0415

    return LinuxKernel()
