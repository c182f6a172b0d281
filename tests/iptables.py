"""Debian's iptables, of either kind, unpacked beside the project and not installed: `.peers/iptables/`.

As a program, `python tests/iptables.py` fetches it: what runs in a private network has nowhere to fetch from.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1] / ".peers/iptables"
PACKAGES = (
    *("iptables", "libip4tc2", "libip6tc2", "libxtables12", "libnetfilter-conntrack3", "libnfnetlink0"),
    *("libnftnl11", "libmnl0"),
)
SYSTEM = "/usr/sbin:/sbin"


def fetch() -> None:
    """Download and unpack it unless it is there or installed. Raises CalledProcessError or OSError."""
    if environment() is not None:
        return
    downloads = ROOT.with_suffix(".new")
    shutil.rmtree(downloads, ignore_errors=True)
    downloads.mkdir(parents=True)
    subprocess.run(["apt-get", "-q", "download", *PACKAGES], cwd=downloads, check=True, capture_output=True)
    for package in downloads.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package.name, "."], cwd=downloads, check=True)
    downloads.rename(ROOT)


def environment() -> dict[str, str] | None:
    """What a process needs in its environment to run it by name; None where it cannot be had."""
    path = f"{os.environ['PATH']}:{SYSTEM}"
    if shutil.which("iptables-nft", path=path):
        return {"PATH": path}
    libraries = next((ROOT / "usr/lib").glob("*-linux-gnu"), None)
    if libraries is None:
        return None
    return {
        "PATH": f"{ROOT / 'usr/sbin'}:{path}",
        "LD_LIBRARY_PATH": str(libraries),
        "XTABLES_LIBDIR": str(libraries / "xtables"),
    }


if __name__ == "__main__":
    try:
        fetch()
    except (OSError, subprocess.CalledProcessError) as error:
        sys.exit(f"iptables cannot be fetched, tests that need it are skipped: {error}")
