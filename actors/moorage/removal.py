"""Removing all that an agent ever made, when none runs."""

from __future__ import annotations

import time

from moorage.agent import open_kernel
from moorage.config import Config
from moorage.store.store import Store


def remove_all(config: Config) -> None:
    """Take away rules, links and reserved ports, put back sysctls, and erase the state.

    Raises Refused: exists while an agent runs on that state.
    """
    kernel = open_kernel(config)
    store = Store.open(config.state_path, kernel.boot_id(), time.time)
    try:
        firewall = kernel.open_firewall(loopback=config.loopback)
        try:
            firewall.write_reserved((), store.reserved())
            firewall.keep_forwarding(())
            firewall.remove()
        finally:
            firewall.close()
        links = kernel.open_links(lambda _path, _value: None)
        try:
            networks = store.networks()
            links.reconcile(networks, ())
            for network in networks:
                links.remove_network(network)
            links.restore(store.sysctls())
        finally:
            links.close()
        store.erase()
    finally:
        store.close()
