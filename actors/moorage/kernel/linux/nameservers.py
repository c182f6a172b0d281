"""The nameservers of the host, which a container's subnet must not hide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

RESOLV_CONF = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
"""The second names the real ones where the first names the local stub of systemd-resolved."""


def nameservers(files: Sequence[Path] = RESOLV_CONF) -> list[str]:
    """The addresses that these files name, each once, without zones; files that are not there name none."""
    return list(dict.fromkeys(server for file in files for server in _named(file)))


def _named(file: Path) -> Iterator[str]:
    try:
        lines = file.read_text(errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver":
            yield from _address(words[1])


def _address(word: str) -> Iterator[str]:
    try:
        yield str(ip_address(word.partition("%")[0]))
    except ValueError:
        return
