"""The tables as text: what `ruleset.nft` and `guard.nft` define, and the commands that change their elements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from ipaddress import ip_network

from moorage.kernel.protocol import Element
from moorage.model.link_names import can_be_said
from moorage.model.share import FLOWS, Share
from moorage.model.spread import BLOCKS

TABLE, GUARD = "inet moorage", "bridge moorage"
"""What packets meet on their way through the host, and frames at the ports of containers. No set or map of one has the
name of one of the other."""

_FILES = {TABLE: "ruleset.nft", GUARD: "guard.nft"}

TARGET4, TARGET6, SAID = "target4", "target6", "said"
"""The types of addresses, and of a MAC, that are read as numbers, in our own terms."""

_PLAIN = re.compile(r"[0-9A-Za-z.:/_-]+")
_PART = 1000
"""Elements in a command, some 60 KB of netlink: a send buffer takes 208 KiB by default."""

_CONTAINER = re.compile(
    r"^\t(?:set|map) (\w+) +\{ type(?:of)? ([\w .@,]+?)(?: : ([\w .]+?))?;( flags interval;)? \}",
    re.MULTILINE,
)
_NAMED_OTHERWISE = {
    "iifname": "ifname",
    "ether saddr": "ether_addr",
    "@th,192,32": TARGET4,
    "@th,64,128": TARGET6,
    "@th,256,128": TARGET6,
    "@th,208,48": SAID,
}
"""Types of what a packet has there, for which there is no name: an address inside of it, as nftables reads a number."""
_BLOCKS = "\t# The chains of the blocks follow.\n"
_SPREAD_PROTOCOLS = ("tcp", "udp", "sctp")
_NAME = re.compile(r"^\t(set|map|chain) +(\w+) +\{", re.MULTILINE)
_SHARED = {
    "random mod {} 0 goto sampled": "every",
    "ct count over {} }} update @overdrawn": "over",
    "rate over {}/minute": "flows",
    "burst {} packets }} update @hurried": "flows",
}
"""What rules say of a share, and which number of it."""
_REMEMBERED = {"net4if": "senders4", "net6if": "senders6", "any4": "found4", "any6": "found6"}
"""Where packets themselves write down what they found in a set."""
_REMEMBERS = {memory: name for name, memory in _REMEMBERED.items()}


@dataclass(frozen=True, slots=True)
class Container:
    """The types of a set or map: of its key's parts, of its value's (none in a set), in nftables' names."""

    key: tuple[str, ...]
    value: tuple[str, ...]
    interval: bool
    table: str = TABLE


@cache
def rules(table: str = TABLE) -> str:
    """A whole table, as one command that adds what is missing of it."""
    text = files(__package__).joinpath(_FILES[table]).read_text("utf-8")
    return text.replace(_BLOCKS, "".join(_block(name, ports) for name, ports in blocks().items()))


def shared(text: str, share: Share) -> str:
    """The rules of `text` with the numbers of a share, where they have those of the default one."""
    usual = Share.of(FLOWS)
    for said, number in _SHARED.items():
        text = text.replace(said.format(getattr(usual, number)), said.format(getattr(share, number)))
    return text


@cache
def blocks() -> dict[str, range]:
    """The ports that masquerading can take, by the name of the chain that takes them."""
    return {f"block{number}": ports for number, ports in enumerate(BLOCKS)}


def _block(name: str, ports: range) -> str:
    # nftables takes ports only where the rule says the protocol, and one of several is a set of its own.
    rules = (f"\t\tmeta l4proto {each} masquerade to :{ports[0]}-{ports[-1]}\n" for each in _SPREAD_PROTOCOLS)
    return f"\tchain {name} {{\n{''.join(rules)}\t}}\n"


@cache
def containers(table: str = TABLE) -> dict[str, Container]:
    """Every set and map of a table by its name, but those that packets fill."""
    return {
        name: Container(_types(key), _types(value), bool(interval), table)
        for name, key, value, interval in _CONTAINER.findall(rules(table))
    }


def container(name: str) -> Container:
    """The set or map of that name, in whichever table. Raises KeyError."""
    found = containers(TABLE).get(name)
    return found if found is not None else containers(GUARD)[name]


@cache
def names(table: str = TABLE) -> frozenset[tuple[str, str]]:
    """Every set, map and chain of a table, as (`set`, `map` or `chain`, name)."""
    return frozenset(_NAME.findall(rules(table)))


def change(add: Iterable[Element], remove: Iterable[Element]) -> list[str]:
    """The commands that first remove the keys of `remove`, then add `add`, up to 1,000 elements each.

    What packets remember of a set that loses elements is forgotten in the same transaction.
    """
    gone = list(grouped(remove, _PART))
    lines = [_command("delete", name, map(_key, part)) for name, part in gone]
    lines += [f"flush set {table_of(name)} {name}\n" for name in forgotten(name for name, _ in gone)]
    return lines + [_command("add", name, map(_whole, part)) for name, part in grouped(add, _PART)]


def forgotten(losing: Iterable[str]) -> list[str]:
    """The sets where packets wrote down what they found in those that are `losing` elements."""
    return [_REMEMBERED[name] for name in dict.fromkeys(losing) if name in _REMEMBERED]


def table_of(name: str) -> str:
    """The table that has the set or map of that name. Raises KeyError."""
    name = _REMEMBERS.get(name, name)
    return TABLE if name in containers(TABLE) else containers(GUARD)[name].table


def grouped(elements: Iterable[Element], most: int) -> Iterator[tuple[str, list[Element]]]:
    """They by their set or map, up to so many at once."""
    groups: dict[str, list[Element]] = {}
    for element in elements:
        groups.setdefault(element.container, []).append(element)
    for name, group in sorted(groups.items()):
        for first in range(0, len(group), most):
            yield name, group[first : first + most]


def quoted(name: str) -> str:
    r"""A link's name in the language of nftables, where an asterisk at the end is a pattern. Raises ValueError."""
    if not can_be_said(name):
        raise ValueError(f"nftables cannot say {name!r}")
    return f'"{name[:-1]}\\*"' if name.endswith("*") else f'"{name}"'


def can_say(element: Element) -> bool:
    """Whether it can be written as nftables reads it; one of ours always can."""
    try:
        return bool(_whole(element))
    except ValueError:
        return False


def describe(element: Element) -> str:
    """`pub4_any tcp . 8080 : 10.0.42.2 . 80`, for people."""
    value = f" : {_join(element.value)}" if element.value else ""
    return f"{element.container} {_join(element.key)}{value}"


def _types(text: str) -> tuple[str, ...]:
    return tuple(_NAMED_OTHERWISE.get(part, part) for part in text.split(" . ")) if text else ()


def _command(verb: str, name: str, parts: Iterable[str]) -> str:
    return f"{verb} element {container(name).table} {name} {{ {', '.join(parts)} }}\n"


def _key(element: Element) -> str:
    types = container(element.container).key
    return " . ".join(map(_literal, types, element.key))


def _whole(element: Element) -> str:
    types = container(element.container).value
    value = " . ".join(map(_literal, types, element.value))
    return f"{_key(element)} : {value}" if value else _key(element)


def _literal(kind: str, part: str | int) -> str:
    if kind == "verdict":
        return f"goto {_plain(str(part))}"
    if isinstance(part, int):
        return str(part)
    if kind == SAID:
        return f"0x{_plain(part).replace(':', '')}"
    if kind in {TARGET4, TARGET6}:
        return _number(part)
    return quoted(part) if kind == "ifname" else _plain(part)


def _number(part: str) -> str:
    """An address or a prefix, for a set that has numbers."""
    network = ip_network(part)
    first, last = (hex(int(each)) for each in (network[0], network[-1]))
    return first if first == last else f"{first}-{last}"


@lru_cache(4096)
def _plain(part: str) -> str:
    """An address, a prefix, a protocol or a port, or a range of them: what is written without quotes."""
    if not _PLAIN.fullmatch(part):
        raise ValueError(f"{part!r} is no part of an element")
    return part


def _join(parts: Iterable[str | int]) -> str:
    return " . ".join(map(str, parts))
