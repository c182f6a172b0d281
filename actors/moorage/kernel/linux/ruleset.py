"""The table as text: what `ruleset.nft` defines, and the commands that change its elements."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files

from moorage.kernel.protocol import Element
from moorage.model.link_names import can_be_said

TABLE = "inet moorage"

_PLAIN = re.compile(r"[0-9A-Za-z.:/_-]+")
_PART = 1000
"""Elements in a command, some 60 KB of netlink: a send buffer takes 208 KiB by default."""

_CONTAINER = re.compile(
    r"^\t(?:set|map) (\w+) +\{ type ([\w .]+?)(?: : ([\w .]+?))?;( flags interval;)? \}", re.MULTILINE
)
_NAME = re.compile(r"^\t(set|map|chain) +(\w+) +\{", re.MULTILINE)
_REMEMBERED = {"net4if": "senders4", "net6if": "senders6"}
"""Where packets themselves write down what they found in a set."""


@dataclass(frozen=True, slots=True)
class Container:
    """The types of a set or map: of its key's parts, of its value's (none in a set), in nftables' names."""

    key: tuple[str, ...]
    value: tuple[str, ...]
    interval: bool


@cache
def rules() -> str:
    """The whole table, as one command that adds what is missing of it."""
    return files(__package__).joinpath("ruleset.nft").read_text("utf-8")


@cache
def containers() -> dict[str, Container]:
    """Every set and map of the table by its name, but those that packets fill."""
    return {
        name: Container(_types(key), _types(value), bool(interval))
        for name, key, value, interval in _CONTAINER.findall(rules())
    }


@cache
def names() -> frozenset[tuple[str, str]]:
    """Every set, map and chain of the table, as (`set`, `map` or `chain`, name)."""
    return frozenset(_NAME.findall(rules()))


def change(add: Iterable[Element], remove: Iterable[Element]) -> list[str]:
    """The commands that first remove the keys of `remove`, then add `add`, up to 1,000 elements each.

    What packets remember of a set that loses elements is forgotten in the same transaction.
    """
    gone = list(_grouped(remove))
    lines = [_command("delete", name, map(_key, part)) for name, part in gone]
    lines += [f"flush set {TABLE} {memory}\n" for name, memory in _REMEMBERED.items() if name in dict(gone)]
    return lines + [_command("add", name, map(_whole, part)) for name, part in _grouped(add)]


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
    return tuple(text.split(" . ")) if text else ()


def _grouped(elements: Iterable[Element]) -> Iterator[tuple[str, list[Element]]]:
    groups: dict[str, list[Element]] = {}
    for element in elements:
        groups.setdefault(element.container, []).append(element)
    for name, group in sorted(groups.items()):
        for first in range(0, len(group), _PART):
            yield name, group[first : first + _PART]


def _command(verb: str, name: str, parts: Iterable[str]) -> str:
    return f"{verb} element {TABLE} {name} {{ {', '.join(parts)} }}\n"


def _key(element: Element) -> str:
    types = containers()[element.container].key
    return " . ".join(map(_literal, types, element.key))


def _whole(element: Element) -> str:
    types = containers()[element.container].value
    value = " . ".join(map(_literal, types, element.value))
    return f"{_key(element)} : {value}" if value else _key(element)


def _literal(kind: str, part: str | int) -> str:
    if isinstance(part, int):
        return str(part)
    return quoted(part) if kind == "ifname" else _plain(part)


@lru_cache(4096)
def _plain(part: str) -> str:
    """An address, a prefix, a protocol or a port, or a range of them: what is written without quotes."""
    if not _PLAIN.fullmatch(part):
        raise ValueError(f"{part!r} is no part of an element")
    return part


def _join(parts: Iterable[str | int]) -> str:
    return " . ".join(map(str, parts))
