"""Where an agent's socket and journal are when nothing else is said."""

from __future__ import annotations

import os


def default_socket() -> str:
    """Return `$MOORAGE_SOCKET`, or the place in `/run` for root, in `$XDG_RUNTIME_DIR` for others."""
    if named := os.environ.get("MOORAGE_SOCKET"):
        return named
    uid = os.geteuid()
    runtime = "/run" if uid == 0 else os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{uid}"
    return f"{runtime}/moorage/moorage.sock"


def default_state() -> str:
    """Return `/var/lib/moorage` for root, a directory in `$XDG_STATE_HOME` for others."""
    if os.geteuid() == 0:
        return "/var/lib/moorage"
    home = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")  # noqa: PTH111 - pathlib takes a client 4 ms to import
    return f"{home}/moorage"
