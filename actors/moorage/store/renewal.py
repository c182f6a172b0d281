"""A database written anew out of a copy, in the place of what others have left there."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from moorage.store import directory as directories
from moorage.store.copy import Copy
from moorage.store.rebuild import forget_oldest, name_aside


def put_in_place(directory: Path, copy: Copy, *, aside: bool) -> Path | None:
    """Write the copy, and have it take the place of the database in one step, however often that is interrupted.

    What lies there is kept under another name where `aside` says so and there is room; gives its path. Raises OSError,
    sqlite3.Error, and has changed nothing then.
    """
    place, new = directory / directories.REBUILDING, directory / directories.REBUILT
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    try:
        copy.write(directories.touch(place))
        (place / directories.DATABASE).replace(new)
        kept = _keep(directory) if aside else None
        for suffix in directories.SUFFIXES[1:]:
            (directory / f"{directories.DATABASE}{suffix}").unlink(missing_ok=True)
        new.replace(directory / directories.DATABASE)
        directories.sync(directory)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    finally:
        shutil.rmtree(place, ignore_errors=True)
    forget_oldest(directory)
    return kept


def _keep(directory: Path) -> Path | None:
    name = name_aside()
    kept = None
    for suffix in directories.SUFFIXES:
        with suppress(OSError):
            kept = shutil.copyfile(
                directory / f"{directories.DATABASE}{suffix}", directory / f"{name}{suffix}"
            )
    return kept and directory / name
