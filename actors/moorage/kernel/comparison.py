"""What is there and should not be, and the reverse, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.kernel.linux.ruleset import describe
from moorage.kernel.protocol import Element

Key = tuple[str, tuple[str | int, ...]]
"""The container of an element, and its key in there."""


def differences(present: Mapping[Key, Element], wanted: Mapping[Key, Element]) -> list[str]:
    """A sentence for each element that differs."""
    keys = sorted(present.keys() | wanted.keys(), key=repr)
    return [
        f"element {describe(wanted.get(key) or present[key])} {_what(present.get(key), wanted.get(key))}"
        for key in keys
        if present.get(key) != wanted.get(key)
    ]


def _what(present: Element | None, wanted: Element | None) -> str:
    if wanted is None:
        return "was not ours"
    return "was missing" if present is None else "had another value"
