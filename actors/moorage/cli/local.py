"""The commands that need no agent: run one, show one, say which version this is."""

from __future__ import annotations

import json
import os
from argparse import Namespace
from dataclasses import replace
from typing import TYPE_CHECKING

from moorage.cli.output import say
from moorage.errors import Refused
from moorage.version import VERSION

if TYPE_CHECKING:
    from moorage.config import Config

_KEYS = ("socket", "state", "bridge", "subnet", "kernel", "chaos")
"""Keys of the configuration that are flags too."""


def agent(options: Namespace) -> int:
    """Run the service in the foreground, or with `--down` remove all it ever made; return its exit code."""
    from moorage.service import down, run  # noqa: PLC0415 - actors and netlink, which no other command needs

    _check_flags(options)
    config = configured(options)
    return down(config) if options.down else run(config, replacing=options.replace)


def _check_flags(options: Namespace) -> None:
    """End with the usage, and 2, where a flag has a value that it cannot have."""
    from moorage.config import check  # noqa: PLC0415 - a TOML parser, which no other command needs

    for name in ("config", *_KEYS):
        try:
            if (value := getattr(options, name)) is not None:
                check(name, value)
        except Refused as refused:
            options.misused(f"argument --{name}: {refused.text}")


def configured(options: Namespace) -> Config:
    """Return the configuration of the file, flags before it. Raises Refused (invalid), naming the key."""
    from moorage.config import Config, load  # noqa: PLC0415 - a TOML parser, which no other command needs

    flags = {name: getattr(options, name) for name in _KEYS}
    if options.socket is None:
        flags["socket"] = os.environ.get("MOORAGE_SOCKET") or None
    given = {name: value for name, value in flags.items() if value is not None}
    return replace(load(options.config) if options.config is not None else Config(), **given)


def demo(options: Namespace) -> int:
    """Show the main job on real sockets; return its exit code."""
    from moorage.demo import main  # noqa: PLC0415 - runs a whole agent

    return main(options.arguments)


def version(options: Namespace) -> int:
    """Print the version of this program; an agent says its own in `hello`."""
    say(json.dumps({"name": "moorage", "version": VERSION}) if options.json else f"moorage {VERSION}")
    return 0
