"""Removing all that an agent ever made, when none runs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from moorage.config import Config
from moorage.control.recovery import maker_of, open_store
from moorage.kernel.protocol import TABLE, Kernel, Made, Maker, Survey
from moorage.log import Log
from moorage.rpc.listener import remove_leftovers
from moorage.store import Store, id_in
from moorage.taking import open_kernel, take
from moorage.values import Network

log = Log()


def remove_all(config: Config) -> None:
    """Take away rules, links and reserved ports, put back sysctls, and erase socket and state.

    What goes is what this state made, and what no state claims: where the state is lost or damaged the table, the
    links whose alias says that they are ours, and the bridges that the table names and that have the MAC we give. What
    another state made stays while that lies in its folder. Raises Refused: exists while an agent runs on that state or
    in this network namespace.
    """
    kernel = open_kernel(config)
    lock, claim = take(config, kernel)
    try:
        store = open_store(config, kernel, lock, log)
        try:
            remove(config, kernel, store)
            remove_leftovers(config.socket_path)
            store.erase()
        finally:
            store.close()
    finally:
        claim.release()
        lock.release()


def remove(config: Config, kernel: Kernel, store: Store) -> None:
    """Take away what is in the kernel of this state, and what no state claims."""
    made, ours = kernel.made(), maker_of(store, config)
    others = {each.maker for each in made if each.maker.id not in {"", ours.id}}
    claimed = {each.id for each in others if _is_claimed(each, ours)}
    left = [each for each in made if each.maker.id in claimed]
    for maker in others:
        if maker.id in claimed:
            log.warning("left_to_its_state", state=maker.id, folder=maker.folder, what=_names(left, maker))
    unclaimed = {each.id for each in others} - claimed
    shown = kernel.survey(config.bridge, {"", ours.id, *unclaimed})
    if not left:  # what another state made may need what was set
        _put_back(config, kernel, {**shown.sysctls, **store.sysctls()})
    _remove_rules(config, kernel, store, shared=any(each.what == TABLE for each in left))
    _remove_links(config, kernel, ours, _networks(store, shown, {each.what for each in left}), unclaimed)


def _is_claimed(maker: Maker, ours: Maker) -> bool:
    """Whether a state of that id lies in its folder; where that cannot be read, it is taken to."""
    if not maker.folder or maker.is_of(ours.folder):
        return False
    return maker.folder.startswith("#") or id_in(Path(maker.folder)) in {maker.id, None}


def _names(made: Sequence[Made], maker: Maker) -> list[str]:
    return sorted(each.what for each in made if each.maker.id == maker.id)


def _networks(store: Store, shown: Survey, left: Collection[str]) -> list[Network]:
    """What is recorded, and what the kernel shows besides, but for the bridges that are left to another state."""
    recorded = store.networks()
    known = {network.bridge for network in recorded}
    networks = recorded + [each for each in shown.networks if each.bridge not in known]
    return [each for each in networks if each.bridge not in left]


def _put_back(config: Config, kernel: Kernel, former: dict[str, str]) -> None:
    """Sysctls first: while the host forwards, the rules keep it to our bridges."""
    links = kernel.open_links(former, loopback=config.loopback)
    try:
        links.restore(former)
    finally:
        links.close()


def _remove_rules(config: Config, kernel: Kernel, store: Store, *, shared: bool) -> None:
    """The table, unless it is another state's, and what goes with it."""
    firewall = kernel.open_firewall(loopback=config.loopback)
    try:
        firewall.write_reserved((), store.reserved())
        if not shared:
            firewall.keep_forwarding(())
            firewall.remove()
    finally:
        firewall.close()


def _remove_links(
    config: Config, kernel: Kernel, maker: Maker, networks: Sequence[Network], others: Collection[str]
) -> None:
    links = kernel.open_links({}, loopback=config.loopback, maker=maker, others=others)
    try:
        links.reconcile((), ())
        for network in networks:
            links.remove_network(network)
    finally:
        links.close()
