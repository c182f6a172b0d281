"""What a host holds for its containers, counted the same way whoever put it there."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from rooms import Room

from moorage.kernel.linux.nftables import Nftables

LISTENING = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""The state in /proc/net of a socket that waits for clients: TCP_LISTEN and TCP_CLOSE of net/tcp_states.h."""
JSON_OUTPUT = 1 << 4  # NFT_CTX_OUTPUT_JSON of nftables/libnftables.h


class Footprint(NamedTuple):
    """Counts on one host."""

    addresses: int
    rules: int
    links: int
    listeners: int

    def __sub__(self, other: Footprint) -> Footprint:
        """What there is more."""
        return Footprint(*(mine - theirs for mine, theirs in zip(self, other, strict=True)))


MASQUERADING = {"lent", "spread"}
NOTHING = Footprint(0, 0, 0, 0)


def footprint(room: Room, addresses: int) -> Footprint:
    """Count rules, links and listeners in `room`; how many addresses are taken only their owner knows."""
    return Footprint(addresses, *room.call(_count))


def _count() -> tuple[int, int, int]:
    return _rules(), _links(), _listeners()


def _rules() -> int:
    """Rules, chains that hang on no hook, and elements of maps and sets. Those of iptables are nftables' too.

    Which ports masquerading takes follows what listens on the host, and is no container's.
    """
    nftables = Nftables()
    try:
        # the class lists without elements, which are what is counted here
        listed = json.loads(nftables._command("list ruleset", JSON_OUTPUT) or '{"nftables": []}')
    finally:
        nftables.close()
    return sum(_weight(kind, body) for entry in listed["nftables"] for kind, body in entry.items())


def _weight(kind: str, body: dict[str, Any]) -> int:
    match kind:
        case "rule":
            return 1
        case "chain":
            return "hook" not in body
        case "map" | "set" if body["name"] not in MASQUERADING:
            return len(body.get("elem", ()))
    return 0


def _links() -> int:
    listed = subprocess.run(["ip", "-j", "link", "show", "type", "veth"], capture_output=True, check=True)
    return sum(bool(link) for link in json.loads(listed.stdout or "[]"))


def _listeners() -> int:
    """Sockets that wait for clients, in this thread's own namespace."""
    return sum(
        line.split()[3] == state
        for table, state in LISTENING.items()
        for line in Path(f"/proc/thread-self/net/{table}").read_text().splitlines()[1:]
    )
