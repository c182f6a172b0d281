"""Sysctls under /proc/sys, with a memory of what they were."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, MutableMapping
from pathlib import Path

from moorage.errors import Code, Refused
from moorage.kernel.linux.repairs import Repairs

_ROOT = Path("/proc/sys")
_LONGEST = 4096
"""Bytes of a value."""

Write = Callable[[str, str], None]
"""Takes a path and its new value."""


def read(path: str) -> str | None:
    """The value at `path` (`net/ipv4/ip_forward`); None where the kernel has no such sysctl."""
    try:
        file = os.open(f"{_ROOT}/{path}", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(file, _LONGEST).decode("ascii").strip()
    except OSError:
        return None
    finally:
        os.close(file)


def write(path: str, value: str) -> None:
    """Write `value`; raises OSError. A thread in another network namespace writes that one's."""
    (_ROOT / path).write_text(value)


class Sysctls:
    """Makes sysctls what they must be; `former` has what they were before the first change."""

    def __init__(self, former: MutableMapping[str, str], repairs: Repairs) -> None:
        self.former = former
        self._repairs = repairs
        self._ensured: dict[str, str] = {}
        self._wrong: dict[str, str] = {}

    def ensure(self, path: str, value: str, *, ours: bool = False, how: Write | None = None) -> list[str]:
        """Set `path` to `value` unless it is; returns a sentence when it was not.

        `ours` says that it belongs to a link we made, and need not be put back; `how` writes it, where more belongs
        to that. A sysctl that the kernel does not have is left out; one that was set before and rests, as well.
        Raises Refused (denied).
        """
        known = path in self._ensured
        self._ensured[path] = value
        if known:
            return self._repairs.attempt(path, lambda: self._set(path, value, how or self.write, ours=ours))
        return self._set(path, value, how or self.write, ours=ours)

    def _set(self, path: str, value: str, how: Write, *, ours: bool) -> list[str]:
        before = read(path)
        if before in {None, value}:
            return []
        if not ours:
            self.remember(path)
        how(path, value)
        return [f"{path.replace('/', '.')} was {before}, set to {value}"]

    def remember(self, path: str) -> None:
        """Note what it is before its first change."""
        value = read(path)
        if value is not None and path not in self.former:
            self.former[path] = value

    def forget(self, path: str) -> None:
        """Remember it no longer, now that it is what it was."""
        self.former.pop(path, None)

    def forget_link(self, link: str) -> None:
        """Know nothing of the sysctls of a link that is gone: its successor's are not those that were ensured."""
        gone = [path for path in self._ensured if f"/conf/{link}/" in path]
        for path in gone:
            del self._ensured[path]

    def differ(self) -> bool:
        """Whether one that was ensured has become another, for most send no event; 6 µs for each.

        Tells once of what cannot be put right, and not of those whose link is gone.
        """
        known, self._wrong = self._wrong, {}
        for path, wanted in list(self._ensured.items()):
            if (value := read(path)) is None:
                del self._ensured[path]
            elif value != wanted:
                self._wrong[path] = value
        return bool(self._wrong.items() - known.items())

    def write(self, path: str, value: str) -> None:
        """Write it, whatever it is. Raises Refused (denied)."""
        self._wrong.pop(path, None)
        try:
            write(path, value)
        except OSError as error:
            raise Refused(
                Code.DENIED,
                f"{_ROOT / path} cannot be set to {value} ({error.strerror}): that needs CAP_NET_ADMIN in "
                "this network namespace and a writable /proc/sys",
            ) from error

    def restore(self, former: Mapping[str, str]) -> None:
        """Put former values back; sysctls of links that are gone are passed over. Raises Refused (denied)."""
        for path, value in former.items():
            if read(path) not in {None, value}:
                self.write(path, value)
            self._ensured.pop(path, None)


def settle(path: str, value: str, former: str | None = None) -> None:
    """Set a container's sysctl where that is allowed: /proc/sys may be read-only, or another's.

    With `former` only where it is that.
    """
    try:
        if (present := read(path)) != value and former in {None, present}:
            write(path, value)
    except OSError as error:
        if error.errno not in {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT}:
            raise
