"""The unit file of the service."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

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
    ],
)
def test_essentials(key: str, value: str) -> None:
    """The agent is supervised by systemd, has its directories, and sees rootless namespaces."""
    assert settings()[key] == value.split()


def test_capabilities_suffice() -> None:
    """What the agent does to networks, namespaces and low ports is within the bounding set."""
    needed = {"CAP_NET_ADMIN", "CAP_NET_BIND_SERVICE", "CAP_NET_RAW", "CAP_SYS_ADMIN", "CAP_SYS_PTRACE"}
    needed |= {"CAP_SETUID", "CAP_SETGID"}
    assert needed <= set(settings()["CapabilityBoundingSet"])
    assert {"AF_UNIX", "AF_INET", "AF_INET6", "AF_NETLINK", "AF_PACKET"} == set(
        settings()["RestrictAddressFamilies"]
    )


@pytest.mark.parametrize(
    "key",
    [
        "MemoryDenyWriteExecute",
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
