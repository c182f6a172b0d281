"""The demonstration: the main job on real sockets, in network namespaces of its own."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and return the exit code: 0 when all was as said, 1 when something was not, which is named."""
    from moorage.demo.play import play  # noqa: PLC0415 - its guests load this package too, and need none of it

    return play(arguments)
