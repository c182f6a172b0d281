"""A kernel in a file: as a real one, it is what it was after the agent was killed."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Collection
from pathlib import Path

from moorage.kernel.memory import MemoryKernel
from moorage.kernel.protocol import Element
from moorage.values import Network


class KeptKernel(MemoryKernel):
    """A kernel in a dict that is written down whenever it changes, and read again at the next start."""

    def __init__(self, path: Path) -> None:
        """Be what `path` says, if it is there."""
        super().__init__(ipv6=True)
        self._writing = threading.Lock()
        if path.exists():
            kept = pickle.loads(path.read_bytes())  # noqa: S301 - written below
            self.table, bridges, self.reserved, self.installed = kept
            self.bridges.update(bridges)
        self._path = path  # from here on all is written that is set
        self.bridges = _Noted(self, self.bridges)

    def replace(self, elements: Collection[Element]) -> list[str]:
        """See `MemoryKernel.replace`."""
        wrong = super().replace(elements)
        self.write()
        return wrong

    def alter(self, add: Collection[Element], remove: Collection[Element]) -> None:
        """See `MemoryKernel.alter`."""
        super().alter(add, remove)
        self.write()

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        if name == "reserved" and "_path" in vars(self):
            self.write()

    def write(self) -> None:
        """Write all in one step."""
        new = self._path.with_suffix(".new")
        with self._writing:
            new.write_bytes(pickle.dumps((self.table, dict(self.bridges), self.reserved, self.installed)))
            new.replace(self._path)


class _Noted(dict[str, Network]):
    """Bridges that are written down."""

    def __init__(self, kernel: KeptKernel, bridges: dict[str, Network]) -> None:
        super().__init__(bridges)
        self._kernel = kernel

    def __setitem__(self, name: str, network: Network) -> None:
        super().__setitem__(name, network)
        self._kernel.write()

    def pop(self, *args: object) -> Network:  # type: ignore[override]  # as it is called
        popped: Network = super().pop(*args)  # type: ignore[call-overload]  # as it is called
        self._kernel.write()
        return popped
