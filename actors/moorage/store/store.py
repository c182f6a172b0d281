"""Durable state: what was given to whom, and what was answered."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from moorage.errors import Refused
from moorage.model.pieces import Reply
from moorage.model.shares import Shares
from moorage.store import directory as directories
from moorage.store.ballast import Ballast
from moorage.store.copy import Copy
from moorage.store.failures import fault, is_full, no_space, refusing
from moorage.store.identity import new_id
from moorage.store.lock import Lock, lock_directory
from moorage.store.operations import Already, Commit, Done, Outcome, RequestKey
from moorage.store.reader import STATE, Reader
from moorage.store.recording import Change, Recording
from moorage.store.requests import Requests
from moorage.store.schema import PAGES, connect
from moorage.store.upgrade import upgrade
from moorage.store.wal import check_log, check_presence
from moorage.store.writer import Writer

T = TypeVar("T")


class Store(Reader):
    """The only owner of the state directory, used by the thread that opened it.

    What `commit` answered is on the disk. Queries raise Damaged for a row that is not as it was written.
    """

    id: str
    """By which the kernel's objects say that they were made for this state."""
    forgotten: list[str]
    """The ids of the interfaces of a former boot, dropped when this store was opened."""

    def __init__(
        self, directory: Path, lock: Lock | None, connection: Recording, now: Callable[[], float]
    ) -> None:
        """Use `Store.open`; `lock` is one to release at the end."""
        super().__init__(connection)
        self._connection: Recording = connection
        self._directory = directory
        self._lock = lock
        self._now = now
        self.log_emptied = False
        """Whether the write-ahead log was cut to nothing; the caller's to take back."""
        self._ballast = Ballast(directory / directories.BALLAST)
        self._requests = Requests(connection, now)
        self._writer = Writer(connection, self, self._requests)

    @classmethod
    def open(
        cls,
        directory: Path,
        boot_id: str,
        now: Callable[[], float],
        lock: Lock | None = None,
        state: str = "",
    ) -> Self:
        """Lock the directory, made when missing, and check what is in it.

        `boot_id` is another string after every boot, `now` gives seconds of a clock of this boot that nobody sets,
        and `lock` is what `lock_directory` gave: it stays the caller's, so that one store can follow on another
        that hangs. What an earlier version wrote is made what this one writes. A state without an id gets `state`, or
        one of its own.

        Interfaces of a former boot are forgotten, networks kept. Raises Refused: denied where the
        directory cannot be used, invalid for one that is not ours and (as Untrusted) for a damaged
        database, exists while another agent uses it, unsupported when a later version wrote it, no_space
        on a full disk.
        """
        if lock is not None:
            return cls._open_locked(directory, None, boot_id, now, state)
        ours = lock_directory(directory)
        try:
            return cls._open_locked(directory, ours, boot_id, now, state)
        except BaseException:
            ours.release()
            raise

    @classmethod
    def _open_locked(
        cls, directory: Path, lock: Lock | None, boot_id: str, now: Callable[[], float], state: str
    ) -> Self:
        with refusing(directory):
            check_presence(directory)
            check_log(directory / f"{directories.DATABASE}-wal")
            connection = connect(directories.touch(directory))
            try:
                store = cls(directory, lock, connection, now)
                store._upgrade()
                store.verify()
                store._requests.verify()
                store._start_boot(boot_id)
                store._identify(state or new_id())
                store.shares.count(store.interfaces())
            except BaseException:
                connection.close()
                raise
        return store

    def commit(self, batch: Sequence[Commit]) -> list[Outcome]:
        """Do all commits of a batch in one durable transaction, and tell what became of each, in order.

        A commit that is refused leaves the others alone. On a full disk those that take anything get
        Refused (no_space), those that only give back are done; any other failure of the disk is a Fault
        for all, and none is done.
        """
        try:
            if self._ballast.take():
                return self._transaction(lambda: self._apply_all(batch))
        except sqlite3.Error as error:
            if not is_full(error, self._directory):
                return [fault(error)] * len(batch)
        outcomes = [self._squeeze(commit) for commit in batch]
        self._shrink()
        return outcomes

    @contextlib.contextmanager
    def one_transaction(self) -> Iterator[None]:
        """Make everything that is applied in the block durable at its end, or nothing of it."""
        with refusing(self._directory):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                with self._kept_or_undone():
                    yield
                    self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            self._checkpoint()  # others read the id without the log

    def apply(self, commit: Commit) -> Outcome:
        """Do a commit in the block of `one_transaction`; one that is refused leaves no trace."""
        return self._apply(commit)

    def rename(self, state: str) -> None:
        """Give the state another id, in the block of `one_transaction`."""
        self.id = self._writer.identify(state)

    def recall(self, key: RequestKey) -> Reply | None:
        """The answer to a request that was done, None when it is new.

        Raises Refused: exists when the same string came with another method or other parameters.
        """
        return self._requests.recall(key)

    def take_requests(self, rows: Sequence[tuple[Any, ...]], pieces: Sequence[tuple[Any, ...]] = ()) -> None:
        """Remember the requests of another database: see `Requests.restore`."""
        with refusing(self._directory):
            self._transaction(lambda: self._requests.restore(rows, pieces))

    def look(self) -> None:
        """See whether somebody took the ballast away."""
        self._ballast.look()

    @property
    def pages(self) -> int:
        """How many the database has. Raises sqlite3.Error."""
        return int(self._connection.execute("PRAGMA page_count").fetchone()[0])

    def copy(self) -> Copy:
        """A copy of all that is committed, and `take` gives what is committed from now on. Raises sqlite3.Error."""
        made = Copy(self._connection)
        self._connection.recorded = []
        self._connection.take()
        return made

    def take(self) -> list[Change]:
        """What was changed since the last time, or since `copy`."""
        return self._connection.take()

    def erase(self) -> None:
        """Close, and remove every file that was made, and the directory when nothing else is in it."""
        self._connection.close()
        directories.erase(self._directory)
        self._unlock()

    def close(self) -> None:
        """Let another agent use the directory. A second time is no error."""
        self._connection.close()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.release()

    def _upgrade(self) -> None:
        self._cured(lambda: upgrade(self._connection, self._now()))

    def _start_boot(self, boot_id: str) -> None:
        self._ballast.take()
        # without foreign keys to look at SQLite drops whole pages, for which there is room on a full disk
        self._connection.execute("PRAGMA foreign_keys = OFF")
        self.forgotten = self._cured(lambda: self._writer.start_boot(boot_id))
        self._connection.execute("PRAGMA foreign_keys = ON")

    def _identify(self, wanted: str) -> None:
        known = self.meta(STATE)
        self.id = known or self._cured(lambda: self._writer.identify(wanted))
        if not known:
            self._checkpoint()  # others read it without the log

    def _apply_all(self, batch: Sequence[Commit]) -> list[Outcome]:
        outcomes = [self._apply(commit) for commit in batch]
        if self._requests.pass_time():
            self._writer.end_quarantine(self._now())
        return outcomes

    def _apply(self, commit: Commit) -> Outcome:
        """Apply one commit within a transaction; one that fails leaves no trace."""
        self._connection.execute("SAVEPOINT commit_of_batch")
        try:
            with self._kept_or_undone():
                outcome = self._perform(commit)
        except sqlite3.OperationalError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one commit is its own outcome
            self._connection.execute("ROLLBACK TO commit_of_batch")
            outcome = error
        self._connection.execute("RELEASE commit_of_batch")
        return outcome

    @property
    def shares(self) -> Shares:
        """What each uid has of the agent."""
        return self._writer.shares

    @contextlib.contextmanager
    def _kept_or_undone(self) -> Iterator[None]:
        with self._requests.kept_or_undone(), self.shares.kept_or_undone():
            yield

    def _perform(self, commit: Commit) -> Outcome:
        if commit.request is not None:
            reply = self._requests.recall(commit.request)
            if reply is not None:
                return Already(reply)
            self._requests.record(commit.request, commit.reply, gives_back=commit.releases)
        return Done(tuple(self._writer.apply(operation) for operation in commit.operations))

    def _squeeze(self, commit: Commit) -> Outcome:
        """Do on a full disk, by itself, a commit that gives back."""
        if not commit.releases:
            return no_space(self._directory)
        try:
            return self._cured(lambda: self._apply(commit))
        except Refused as error:
            return error
        except sqlite3.Error as error:
            return fault(error)

    def _cured(self, work: Callable[[], T]) -> T:
        """Run a transaction that gives back, where there is no room with that of the ballast."""
        try:
            return self._transaction(work)
        except sqlite3.Error as error:
            if not is_full(error, self._directory):
                raise
        self._make_room()
        try:
            return self._transaction(work)
        except sqlite3.Error as error:
            if not is_full(error, self._directory):
                raise
            raise no_space(self._directory) from error

    def _make_room(self) -> None:
        self._ballast.drop()
        with contextlib.suppress(sqlite3.OperationalError):
            self._checkpoint()

    def _shrink(self) -> None:
        """Give emptied pages back to the file system, so that there is room for the ballast again."""
        with contextlib.suppress(sqlite3.OperationalError):
            while self._connection.execute("PRAGMA freelist_count").fetchone() > (0,):
                self._connection.execute(f"PRAGMA incremental_vacuum({PAGES})").fetchall()
                self._checkpoint()

    def _checkpoint(self) -> None:
        """Copy the write-ahead log back into the database, and cut it to nothing."""
        self.log_emptied = True
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _transaction(self, work: Callable[[], T]) -> T:
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            with self._kept_or_undone():
                result = work()
                self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        return result
