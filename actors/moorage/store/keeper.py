"""Keeps a state in its place while an agent runs: what others remove, replace or cut is written anew, whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from moorage.errors import Code, Fault, MoorageError, Refused
from moorage.log import Log
from moorage.store import directory as directories
from moorage.store.copy import Copy, CopyReader
from moorage.store.guard import Guard, Stamp, Stamps, Trouble, stamps
from moorage.store.lock import Lock
from moorage.store.mounts import Place
from moorage.store.operations import Commit, Done, Outcome
from moorage.store.renewal import put_in_place
from moorage.store.store import Store

log = Log()

_left_open: list[Store] = []
"""Those that were never closed: SQLite removes a log by its path, where another file system's lies now."""


class Keeper:
    """The state of one agent, through all lives of its journal. Used by the thread of whichever life it is."""

    def __init__(self, directory: Path, lock: Lock) -> None:
        """Keep nothing yet. `lock` is the directory's, and stays the caller's."""
        self._directory = directory.absolute()
        self._lock = lock
        self._copy: Copy | None = None
        self._guard: Guard | None = None
        self._store: Store | None = None
        self._closed: Stamps | None = None
        self._refusal: Refused | None = None

    @property
    def store(self) -> Store:
        """The store that is open."""
        assert self._store is not None  # noqa: S101 - `open` set it
        return self._store

    @property
    def reader(self) -> Store | CopyReader:
        """What can be asked: a copy, while the files are not what they should be and cannot be written anew."""
        return self.store if self._refusal is None or self._copy is None else self._copy.reader

    def open(self, opened: Callable[[], Store], again: Callable[[], Store]) -> None:
        """Open the store, first put right if others changed it since a former life; `again` opens one that was."""
        later = self._closed is not None
        if later and stamps(self._directory) != self._closed:
            self._put_in_place(Trouble("was changed by somebody else"))
        self._closed = None
        self._again = again
        self._guard_from(opened, stamps(self._directory).database if later else None)

    def commit(self, batch: Sequence[Commit]) -> list[Outcome]:
        """As `Store.commit`, but that all are refused (unavailable) while the directory is not there to be seen.

        What was committed is a Fault where that became so meanwhile: it may have been done.
        """
        if (refusal := self.look(writing=True)) is not None:
            return [Refused(refusal.code, refusal.text) for _ in batch]
        outcomes = self._commit(batch)
        if self._left_as_it_was():
            return [self._explained(each) for each in outcomes]
        if (refusal := self.look(writing=True)) is not None:
            text = f"it was recorded, but {refusal.text}: send the same request again"
            return [Fault(text) if isinstance(each, Done | Fault) else each for each in outcomes]
        failed = [index for index, each in enumerate(outcomes) if isinstance(each, Fault)]
        if failed:  # of the files as others had left them; nothing of these is in the copy
            for index, outcome in zip(failed, self._commit([batch[i] for i in failed]), strict=True):
                outcomes[index] = outcome
            self._left_as_it_was()
        return outcomes

    def look(self, *, writing: bool = False) -> Refused | None:
        """Write anew what others have removed, replaced or cut; why that cannot be done, if it cannot.

        What somebody has open, as who copies it, matters only where it is to be written.
        """
        guard, trouble = self._guard, self._guard.trouble() if self._guard else None
        if guard is None or trouble is None or not (trouble.foreign or writing):
            self._relieve()
            return None
        if guard.is_hidden:
            return self._refuse("is hidden by another file system: nothing is changed until it is back")
        try:
            self._write_anew(trouble)
        except (MoorageError, OSError, sqlite3.Error) as error:
            return self._refuse(f"{trouble.text}, and cannot be written anew: {error}")
        self._relieve()
        return None

    def tend(self) -> None:
        """Look, though nothing is asked, and do what is owed."""
        self.look()
        try:
            if self._copy is not None:
                self._copy.settle()
        except sqlite3.Error:
            self._copy_anew()
        self.store.look()

    def mend(self) -> bool:
        """Whether what could not be read was somebody's doing, and is as it was now."""
        return (
            self._guard is not None and self._guard.trouble() is not None and self.look(writing=True) is None
        )

    def close(self) -> None:
        """Close the store, and leave all that was recorded in its place. A second time is no error."""
        if self._store is None:
            return
        hidden = self.look(writing=True) is not None
        store, self._store = self._store, None
        if hidden:
            _left_open.append(store)
        else:
            store.close()
        if self._guard is not None:
            self._guard.close()
            self._guard = None
        self._closed = None if hidden else stamps(self._directory)

    def end(self) -> None:
        """Give the copy up, when no journal comes any more. A second time is no error."""
        former, self._copy = self._copy, None
        if former is not None:
            former.close()

    # -- how

    def _commit(self, batch: Sequence[Commit]) -> list[Outcome]:
        outcomes = self.store.commit(batch)
        try:
            if self._copy is not None:
                self._copy.follow(self.store.take())
        except sqlite3.Error:
            self._copy_anew()
        return outcomes

    def _left_as_it_was(self) -> bool:
        """Whether nobody else changed anything while we did."""
        try:
            pages = self.store.pages
        except sqlite3.Error:
            return False
        emptied, self.store.log_emptied = self.store.log_emptied, False
        return self._guard is None or self._guard.leave(pages, emptied=emptied)

    def _explained(self, outcome: Outcome) -> Outcome:
        """A failure of a file system that may not be written: nothing was done."""
        if isinstance(outcome, Fault) and self._guard is not None and self._guard.place.is_read_only:
            text = f"the file system of the state directory {self._directory} is read-only: make it writable again"
            return Refused(Code.UNAVAILABLE, text)
        return outcome

    def _refuse(self, why: str) -> Refused:
        refusal = Refused(Code.UNAVAILABLE, f"the state directory {self._directory} {why}")
        if self._refusal is None:
            log.error("state_unavailable", reason=refusal.text)
        self._refusal = refusal
        return refusal

    def _relieve(self) -> None:
        if self._refusal is not None:
            log.warning("state_available", folder=str(self._directory))
        self._refusal = None
        if self._copy is None and self._store is not None:
            self._copy_anew()

    def _write_anew(self, trouble: Trouble) -> None:
        self._put_in_place(trouble)
        former, guard = self.store, self._guard
        former.close()
        if guard is not None:
            guard.close()
        self._guard_from(self._again, stamps(self._directory).database)

    def _put_in_place(self, trouble: Trouble) -> None:
        if self._copy is None:
            raise Fault("there is no copy of it")
        if self._guard is None or not self._guard.place.is_there:
            directories.prepare(self._directory)
        self._lock.renew()
        aside = put_in_place(self._directory, self._copy, aside=trouble.foreign)
        log.error(
            "state_written_anew", folder=str(self._directory), reason=trouble.text, aside=str(aside or "")
        )

    def _guard_from(self, opened: Callable[[], Store], database: Stamp | None) -> None:
        """Open the store. Whatever happens from now on is noticed, and if this `database` is not what is opened."""
        place = self._place()
        try:
            self._store = opened()
        except BaseException:
            if place is not None:
                place.close()
            raise
        self._copy_anew()
        try:
            self._guard = Guard(self._directory, place, database)
        except OSError as error:
            if place is not None:
                place.close()
            log.warning("state_not_guarded", reason=str(error))
            self._guard = None

    def _place(self) -> Place | None:
        """Where the files are before they are opened; None where that cannot be known, as `Guard` will say."""
        try:
            return Place(self._directory)
        except OSError:
            return None

    def _copy_anew(self) -> None:
        self.end()
        with suppress(sqlite3.Error):  # no room for it: tried again
            self._copy = self.store.copy()
