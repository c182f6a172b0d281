"""Opening the state, and making it anew where it is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moorage.config import Config
from moorage.control.context import now, uptime
from moorage.errors import MoorageError
from moorage.kernel.protocol import Kernel, Survey
from moorage.store import Commit, PutInterface, Store, Untrusted, finish_rebuild, rebuild
from moorage.store.lock import Lock
from moorage.values import Interface

LOST = "labels of what only the kernel showed, interfaces that were not attached, and answers to requests"
"""What may be lost with a damaged row."""


def open_store(config: Config, kernel: Kernel, lock: Lock, log: Any, *, mend: bool = True) -> Store:
    """Open the state in its locked directory; a damaged one is put aside and rebuilt, and `log` told.

    Every row that is as it was written is taken over; what others told comes from the kernel, as far as it
    shows. Raises Refused as `Store.open` does, Untrusted only without `mend`.
    """
    finish_rebuild(config.state_path)
    try:
        return _open(config, kernel, lock)
    except Untrusted as error:
        if not mend:
            raise
        log.error("state_damaged", reason=error.text)
    _rebuild(config, kernel, log)
    return _open(config, kernel, lock)


def _open(config: Config, kernel: Kernel, lock: Lock) -> Store:
    store = Store.open(config.state_path, kernel.boot_id(), uptime, lock)
    try:
        _know_namespaces(store, kernel)
    except BaseException:
        store.close()
        raise
    return store


def _know_namespaces(store: Store, kernel: Kernel) -> None:
    """Give those of a version that had inodes the cookies that their links prove; others are never attached again."""
    unknown = [each for each in store.interfaces() if each.netns is not None and not each.netns_cookie]
    found = kernel.identify(unknown) if unknown else {}
    known = [replace(each, netns_cookie=found[each.id]) for each in unknown if each.id in found]
    if known:
        (outcome,) = store.commit([Commit(tuple(PutInterface(each, gives_back=True) for each in known))])
        if isinstance(outcome, Exception):
            raise outcome


def _rebuild(config: Config, kernel: Kernel, log: Any) -> None:
    networks, interfaces, sysctls = _survey(config, kernel, log)
    dated = _dated(interfaces)
    done = rebuild(config.state_path, kernel.boot_id(), uptime, networks, dated, sysctls=sysctls)
    log.warning(
        "state_rebuilt",
        aside=str(done.aside),
        intact=done.intact,
        from_kernel=list(done.found),
        left_out=list(done.left_out),
        damaged_rows=done.damaged,
        perhaps_lost=LOST,
    )


def _survey(config: Config, kernel: Kernel, log: Any) -> Survey:
    try:
        return kernel.survey(config.bridge)
    except (MoorageError, OSError) as error:
        log.error("survey_failed", reason=str(error))
        return Survey((), ())


def _dated(interfaces: Sequence[Interface]) -> list[Interface]:
    return [replace(each, created=now()) for each in interfaces]
