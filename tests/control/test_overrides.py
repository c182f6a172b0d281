"""No method of ours takes the place of one of the actors' bases by accident."""

from __future__ import annotations

import importlib
import pkgutil

import pykka
import pytest

import moorage.control
from moorage.supervision.actor import Actor, ThreadActor
from moorage.supervision.loop import LoopActor
from moorage.supervision.supervisor import LoopSupervisor, Supervisor, ThreadSupervisor

BASES = (
    pykka.Actor,
    pykka.ThreadingActor,
    Actor,
    ThreadActor,
    LoopActor,
    Supervisor,
    ThreadSupervisor,
    LoopSupervisor,
)
MEANT = {"_abc_impl", "role", "asks", "batched", "begin", "end", "receive", "receive_batch"}
"""What a class of actors is there to define: the attributes and hooks of `Actor`."""


def ours(base: type[Actor] = Actor) -> set[type[Actor]]:
    """Every class of actors below moorage.control."""
    for module in pkgutil.walk_packages(moorage.control.__path__, "moorage.control."):
        importlib.import_module(module.name)
    below = {each for child in base.__subclasses__() for each in (child, *ours(child))}
    return {each for each in below if each.__module__.startswith("moorage.control.")}


def attributes_of_instances(base: type) -> set[str]:
    """The names that the methods of a class assign to."""
    names: set[str] = set()
    for function in vars(base).values():
        code = getattr(function, "__code__", None)
        names |= {name for name in getattr(code, "co_names", ()) if name.startswith("_")}
    return names


@pytest.mark.parametrize("actor", sorted(ours(), key=lambda each: each.__name__))
def test_an_actor_overrides_hooks_only(actor: type[Actor]) -> None:
    """What an actor defines is a hook, or a name that none of its bases has or uses."""
    inherited = set().union(
        *(set(dir(base)) | attributes_of_instances(base) for base in BASES if issubclass(actor, base))
    )
    defined = {name for name in vars(actor) if not name.startswith("__")} - MEANT
    assert not defined & inherited, f"{actor.__name__} takes these from a base of its"


def test_every_actor_is_looked_at() -> None:
    """The classes are those of the tree."""
    assert {each.role for each in ours()} >= {"root", "journal", "interface", "proxy", "gateway", "links"}
