"""Asks only go down: nobody can wait for somebody who waits for him."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from graphlib import TopologicalSorter

import pytest

import moorage.control
from moorage.supervision.actor import Actor

ALIKE = {"tcp-ports": {"tcp-ports", "udp-ports", "sctp-ports"}}
"""One class plays several roles: a port allocator for each protocol."""


def actors(base: type[Actor] = Actor) -> Iterator[type[Actor]]:
    """Every class of actors below `base` that belongs to moorage."""
    for each in base.__subclasses__():
        if each.__module__.startswith("moorage."):
            yield each
        yield from actors(each)


@pytest.fixture(scope="module")
def graph() -> dict[str, set[str]]:
    """Whom each role asks."""
    for module in pkgutil.walk_packages(moorage.control.__path__, "moorage.control."):
        importlib.import_module(module.name)
    roles: dict[str, set[str]] = {}
    for each in actors():
        for role in ALIKE.get(each.role, {each.role} - {""}):
            roles.setdefault(role, set()).update(each.asks)
    return roles


def test_asks_go_round_in_no_circle(graph: dict[str, set[str]]) -> None:
    """The roles can be put in an order in which each asks only those before it."""
    assert list(TopologicalSorter(graph).static_order())
    assert graph["interface"] >= {"journal"}


def test_everyone_asked_is_there(graph: dict[str, set[str]]) -> None:
    """Every role that is asked is a role that some class plays."""
    asked = set().union(*graph.values())
    assert asked <= set(graph), f"nobody plays {asked - set(graph)}"


def test_classes_without_a_role_ask_nobody() -> None:
    """Whoever asks says who he is, or the other tests would not see him."""
    assert [each.__name__ for each in actors() if each.asks and not each.role] == []
