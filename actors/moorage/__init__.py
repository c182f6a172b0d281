"""Addresses and published ports for the containers of one host, by supervised actors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from moorage.errors import Fault, MoorageError, Refused, Unreachable
from moorage.version import VERSION

if TYPE_CHECKING:
    from moorage.agent import Agent
    from moorage.client import Client
    from moorage.config import Config
    from moorage.model.port_spec import PortSpec, parse_port_spec
    from moorage.values import Interface, Mapping, Network

__all__ = [
    "Agent",
    "Client",
    "Config",
    "Fault",
    "Interface",
    "Mapping",
    "MoorageError",
    "Network",
    "PortSpec",
    "Refused",
    "Unreachable",
    "__version__",
    "parse_port_spec",
]

__version__ = VERSION

_HOMES = {
    "Agent": "moorage.agent",
    "Client": "moorage.client",
    "Config": "moorage.config",
    "Interface": "moorage.values",
    "Mapping": "moorage.values",
    "Network": "moorage.values",
    "PortSpec": "moorage.model.port_spec",
    "parse_port_spec": "moorage.model.port_spec",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: a client command needs no actors."""
    if name not in _HOMES:
        raise AttributeError(f"module 'moorage' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415

    return getattr(import_module(_HOMES[name]), name)
