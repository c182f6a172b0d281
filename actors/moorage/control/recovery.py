"""Opening the state: made anew where it is damaged, and compared with what the kernel says whose work it holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moorage.config import Config
from moorage.control.context import now, uptime
from moorage.kernel.protocol import Kernel, Made, Maker
from moorage.model.recovery import another_states, has_newer, lost_id
from moorage.store import (
    Commit,
    PutInterface,
    Store,
    Taken,
    Untrusted,
    finish_rebuild,
    id_in,
    rebuild,
    take_up,
)
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


def open_again(config: Config, kernel: Kernel, lock: Lock) -> Store:
    """Open a state that was open already, and was written anew since."""
    store = Store.open(config.state_path, kernel.boot_id(), uptime, lock)
    store.shares.count(store.interfaces(), config.ports)
    return store


def claim_links(store: Store, config: Config, kernel: Kernel, log: Any) -> None:
    """See to it that the links of all living containers are this state's, before anything is changed in the kernel.

    An empty state takes them up, with the id of the state that made them; any takes up what was attached after all it
    knows of, which a copy of an older day or a former owner does not. Raises Refused: exists where another state made
    them.
    """
    made = kernel.made()
    if store.is_empty:
        _take_all_up(store, config, kernel, made, log)
        return
    recorded = {each.id for each in store.interfaces() if each.netns is not None}
    if (refusal := another_states(made, store.id, recorded)) is not None:
        raise refusal
    if has_newer(made, store.id, store.attached):
        networks, interfaces, _ = kernel.survey(config.bridge, {store.id})
        newer = [each for each in interfaces if each.attached > store.attached]
        _tell(take_up(store, networks, _dated(newer)), store, made, log)


def _take_all_up(store: Store, config: Config, kernel: Kernel, made: Sequence[Made], log: Any) -> None:
    lost = lost_id(made, maker_of(store, config).folder)
    unsigned = {each.owner for each in made if each.living and not each.maker.id}
    if (refusal := another_states(made, lost or store.id, unsigned)) is not None:
        raise refusal
    if lost or unsigned:
        networks, interfaces, sysctls = kernel.survey(config.bridge, {lost, ""})
        taken = take_up(store, networks, _dated(interfaces), state=lost, sysctls=sysctls)
        _tell(taken, store, made, log)


def _tell(taken: Taken, store: Store, made: Sequence[Made], log: Any) -> None:
    folder = next((each.maker.folder for each in made if each.maker.id == store.id), "")
    log.warning(
        "state_taken_up",
        state=store.id,
        folder=folder,
        taken=list(taken.found),
        left_out=list(taken.left_out),
    )


def maker_of(store: Store, config: Config) -> Maker:
    """What the kernel's objects are marked with."""
    return Maker(store.id, os.path.abspath(config.state_path))  # noqa: PTH100 - links in it stay as they are


def _open(config: Config, kernel: Kernel, lock: Lock) -> Store:
    store = open_again(config, kernel, lock)
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
    folder = os.path.abspath(config.state_path)  # noqa: PTH100 - as above
    state = id_in(config.state_path) or lost_id(kernel.made(), folder)
    networks, interfaces, sysctls = kernel.survey(config.bridge, {state, ""})
    dated = _dated(interfaces)
    done = rebuild(config.state_path, kernel.boot_id(), uptime, networks, dated, state=state, sysctls=sysctls)
    log.warning(
        "state_rebuilt",
        aside=str(done.aside),
        intact=done.intact,
        from_kernel=list(done.found),
        left_out=list(done.left_out),
        damaged_rows=done.damaged,
        perhaps_lost=LOST,
    )


def _dated(interfaces: Sequence[Interface]) -> list[Interface]:
    return [replace(each, created=now()) for each in interfaces]
