"""The aliases of our links: whose they are, and of a container's what it has. Only root of the host can write them.

A bridge says `moorage:NETWORK STATE FOLDER`, the host's end of a veth pair `moorage:INTERFACE STATE TIME IP MAC IFNAME
[IPV6]`; earlier versions wrote the first word alone. Pure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple
from urllib.parse import quote, unquote

from moorage.kernel.linux.rtlinks import Link
from moorage.kernel.protocol import NOBODY, Made, Maker, hashed_folder
from moorage.values import Interface

ALIAS = "moorage:"
"""What the alias of every link that we made begins with; the id of the interface or the name of the network follows."""

LONGEST = 255
"""Bytes of an alias: IFALIASZ of linux/if.h, less its NUL. The longest id leaves four of them."""


class Facts(NamedTuple):
    """What the host's end of a pair says of the container's."""

    attached: int
    ip: str
    mac: str
    ifname: str
    ipv6: str | None


def owner(link: Link) -> str | None:
    """The id of the interface or the name of the network that it is for; None of what is not ours."""
    return link.alias.removeprefix(ALIAS).partition(" ")[0] if is_ours(link) else None


def is_ours(link: Link) -> bool:
    """Whether its alias says that we made it."""
    return link.alias.startswith(ALIAS)


def is_port(link: Link) -> bool:
    """Whether it is the host's end of a pair of ours."""
    return link.kind == "veth" and is_ours(link)


def maker(link: Link) -> str:
    """The id of the state that it was made for; "" where it is not said."""
    words = link.alias.split(" ")
    return words[1] if is_ours(link) and len(words) > 1 else ""


def facts(port: Link) -> Facts | None:
    """What it says of its container; None where an earlier version made it."""
    words = port.alias.split(" ")
    if not is_port(port) or len(words) < len(Facts._fields) + 1:
        return None
    time, ip, mac, ifname, *ipv6 = words[2:]
    with suppress(ValueError):
        return Facts(
            int(time, 16), str(IPv4Address(ip)), mac, ifname, str(IPv6Address(ipv6[0])) if ipv6 else None
        )
    return None


def folder_word(folder: str, room: int) -> str:
    """A folder as a bridge's alias has it: a word of `room` bytes at most."""
    word = quote(os.fsencode(folder), safe="/")
    return word if len(word) <= room else hashed_folder(folder)


def bridge_alias(network: str, made_for: Maker) -> str:
    """The alias of the bridge of that network."""
    if not made_for.id:
        return ALIAS + network
    head = f"{ALIAS}{network} {made_for.id} "
    return head + folder_word(made_for.folder, LONGEST - len(head))


def port_alias(interface: Interface, made_for: Maker) -> str:
    """The alias of the host's end of that interface's pair."""
    if not made_for.id:
        return ALIAS + interface.id
    words = [interface.id, made_for.id, f"{interface.attached:x}", interface.ip, interface.mac.lower()]
    words += filter(None, (interface.ifname, interface.ipv6))
    return ALIAS + " ".join(words)


def made(links: Iterable[Link]) -> list[Made]:
    """All that is ours of these, with whose it is."""
    ours = [link for link in links if is_ours(link)]
    folders = {maker(link): _folder(link) for link in ours if link.kind == "bridge"}
    return [_made(link, folders) for link in ours]


def _made(link: Link, folders: dict[str, str]) -> Made:
    known = facts(link)
    made_for = Maker(maker(link), folders.get(maker(link), "")) if maker(link) else NOBODY
    living = link.kind == "veth" and link.nsid >= 0
    return Made(link.name, owner(link) or "", made_for, living, known.attached if known else 0)


def _folder(bridge: Link) -> str:
    words = bridge.alias.split(" ")
    return unquote(words[2], errors="surrogateescape") if len(words) > 2 else ""
