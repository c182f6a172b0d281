"""Removing all that an agent ever made, when none runs."""

from __future__ import annotations

from collections.abc import Sequence

from moorage.agent import open_kernel, take
from moorage.config import Config
from moorage.control.recovery import open_store
from moorage.kernel.protocol import Kernel, Survey
from moorage.log import Log
from moorage.rpc.listener import remove_leftovers
from moorage.store import Store
from moorage.values import Network

log = Log()


def remove_all(config: Config) -> None:
    """Take away rules, links and reserved ports, put back sysctls, and erase socket and state.

    Where the state is lost or damaged, what is recognisably ours goes: the table, the links whose alias says so,
    and the bridges that the table names and that have the MAC we give. Raises Refused: exists while an agent
    runs on that state or in this network namespace.
    """
    kernel = open_kernel(config)
    lock, claim = take(config, kernel)
    try:
        store = open_store(config, kernel, lock, log)
        try:
            shown = kernel.survey(config.bridge)
            former = {**shown.sysctls, **store.sysctls()}
            _put_back(config, kernel, former)
            _remove_rules(config, kernel, store)
            _remove_links(config, kernel, _networks(store, shown))
            remove_leftovers(config.socket_path)
            store.erase()
        finally:
            store.close()
    finally:
        claim.release()
        lock.release()


def _networks(store: Store, shown: Survey) -> list[Network]:
    recorded = store.networks()
    known = {network.bridge for network in recorded}
    return recorded + [each for each in shown.networks if each.bridge not in known]


def _put_back(config: Config, kernel: Kernel, former: dict[str, str]) -> None:
    """Sysctls first: while the host forwards, the rules keep it to our bridges."""
    links = kernel.open_links(former, loopback=config.loopback)
    try:
        links.restore(former)
    finally:
        links.close()


def _remove_rules(config: Config, kernel: Kernel, store: Store) -> None:
    firewall = kernel.open_firewall(loopback=config.loopback)
    try:
        firewall.write_reserved((), store.reserved())
        firewall.keep_forwarding(())
        firewall.remove()
    finally:
        firewall.close()


def _remove_links(config: Config, kernel: Kernel, networks: Sequence[Network]) -> None:
    links = kernel.open_links({}, loopback=config.loopback)
    try:
        links.reconcile((), ())
        for network in networks:
            links.remove_network(network)
    finally:
        links.close()
