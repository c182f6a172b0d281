"""Who played which part when an operation began."""

from __future__ import annotations

from collections.abc import Iterable

from moorage.supervision.directory import Directory


class Incarnations:
    """The actors of these names at this moment, to tell later whether one of them began anew.

    One that did has read the journal, perhaps before an operation under way was recorded there, and has
    forgotten what it did for that operation.
    """

    def __init__(self, directory: Directory, names: Iterable[str]) -> None:
        """Note who has these names."""
        self._directory = directory
        self._noted = {name: directory.find(name) for name in names}

    def changed(self) -> bool:
        """Whether any of these names has another actor now, or none."""
        return any(self._directory.find(name) is not noted for name, noted in self._noted.items())
