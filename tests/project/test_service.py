"""The unit file of the service."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
TABLE = re.compile(r"^\| (CAP_[^|]*)\|", re.MULTILINE)
CAPABILITY = re.compile(r"CAP_[A-Z_]+")
UNIT = Path(__file__).parents[2] / "config" / "moorage.service"


def settings() -> dict[str, list[str]]:
    """The settings of every section, each with its words."""
    found: defaultdict[str, list[str]] = defaultdict(list)
    for line in UNIT.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found[key] += value.split()
    return found


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecStart", "moorage agent"),
        ("Restart", "on-failure"),
        ("StateDirectory", "moorage"),
        ("StateDirectoryMode", "0700"),
        ("RuntimeDirectory", "moorage"),
        ("ProtectHome", "read-only"),
        ("ReadWritePaths", "/var/lib"),  # a state directory that was removed is made anew
        ("LimitNOFILE", "262144"),
        ("TasksMax", "512"),
    ],
)
def test_essentials(key: str, value: str) -> None:
    """The agent is supervised by systemd, has its directories, and sees rootless namespaces."""
    assert settings()[key] == value.split()


def test_capabilities_suffice() -> None:
    """The unit grants what the table of capabilities gives a reason for, no more and no less."""
    needed = {each for row in TABLE.findall(OPERATIONS.read_text()) for each in CAPABILITY.findall(row)}
    assert needed == set(settings()["CapabilityBoundingSet"])
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"} == set(
        settings()["RestrictAddressFamilies"]
    )


@pytest.mark.parametrize(
    "key",
    [
        "LimitFSIZE",
        "MemoryDenyWriteExecute",
        "MemoryMax",
        "MountFlags",
        "PrivateNetwork",
        "PrivateUsers",
        "ProcSubset",
        "ProtectKernelTunables",
        "ProtectProc",
        "RestrictNamespaces",
        "TemporaryFileSystem",
    ],
)
def test_sandbox_leaves_what_the_agent_needs(key: str) -> None:
    """No setting hides namespaces or sysctls from the agent, or refuses setns."""
    assert key not in settings()
