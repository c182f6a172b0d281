"""Programs of a local user who has no right at all, in a namespace of a lab."""

from __future__ import annotations

import subprocess
import sys

from lab import Lab
from uids import must_be_root

NOBODY = 65534
_BECOME = (
    f"import os, select, socket, sys, time; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
)
"""What is imported later may not be readable to it."""


def stranger(lab: Lab, code: str, *arguments: object, name: str = "host") -> subprocess.Popen[str]:
    """Run Python `code` as a user without capabilities. It has said a line when this returns; `tell` answers it."""
    must_be_root()
    argv = [sys.executable, "-c", _BECOME + code, *map(str, arguments)]
    made: subprocess.Popen[str] = lab.popen(
        name, argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/"
    )
    assert made.stdout is not None
    assert made.stdout.readline(), "it ended"
    return made


def tell(made: subprocess.Popen[str]) -> str:
    """Have it go on, and say what it says then."""
    assert made.stdin is not None
    assert made.stdout is not None
    made.stdin.write("\n")
    made.stdin.flush()
    return made.stdout.readline().strip()
