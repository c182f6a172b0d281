"""Debian's iptables, of either kind, unpacked beside the project and not installed: `.peers/iptables/`.

As a program, `python tests/iptables.py` fetches it: what runs in a private network has nowhere to fetch from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from debian import libraries, unpack

NAME = "iptables"
PACKAGES = (
    *("iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnetfilter-conntrack3", "libnfnetlink0"),
    *("libnftnl11", "libmnl0"),
)
SYSTEM = "/usr/sbin:/sbin"


def fetch() -> None:
    """Download and unpack it unless it is there or installed. Raises CalledProcessError or OSError."""
    if environment() is None:
        unpack(NAME, PACKAGES)


def environment() -> dict[str, str] | None:
    """What a process needs in its environment to run it by name; None where it cannot be had."""
    path = f"{os.environ['PATH']}:{SYSTEM}"
    if shutil.which("iptables-nft", path=path):
        return {"PATH": path}
    found = libraries(NAME)
    if found is None:
        return None
    return {
        "PATH": f"{found.parents[1] / 'sbin'}:{path}",
        "LD_LIBRARY_PATH": str(found),
        "XTABLES_LIBDIR": str(found / "xtables"),
    }


if __name__ == "__main__":
    try:
        fetch()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"iptables cannot be fetched, tests that need it are skipped: {error}")
