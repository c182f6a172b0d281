"""FORWARD of legacy iptables: read from the kernel, changed by iptables-legacy.

Its tables can be changed only as a whole, under a lock that its own program takes: the one case in which a
program is run.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import struct
import subprocess
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from moorage.errors import Code, Refused
from moorage.kernel.protocol import Kept

CHAIN = "MOORAGE"

# linux/netfilter_ipv4/ip_tables.h and netfilter_ipv6/ip6_tables.h
_INFO, _ENTRIES = 64, 65
_GETINFO = struct.Struct("=32sI5I5III")
_FORWARD_HOOK = 2
_DROP = -1  # a verdict is -NF_DROP - 1
_VERDICT = 32  # in struct xt_standard_target
_SECONDS = 10


class _Layout(NamedTuple):
    """How one family is reached: names, the socket level, and where things are in its struct ipt_entry."""

    names: str
    program: str
    family: int
    level: int
    offsets: int
    counters: int


_LAYOUTS = {
    "ip": _Layout("ip_tables_names", "iptables-legacy", socket.AF_INET, socket.IPPROTO_IP, 88, 96),
    "ip6": _Layout("ip6_tables_names", "ip6tables-legacy", socket.AF_INET6, socket.IPPROTO_IPV6, 140, 152),
}
_libc = ctypes.CDLL(None, use_errno=True)


class LegacyForwarding:
    """The FORWARD chain of one family's legacy filter table; absent in most hosts."""

    def __init__(self, family: str) -> None:
        """`family` is `ip` or `ip6`."""
        self._layout = _LAYOUTS[family]
        self._kept: tuple[int, frozenset[str]] | None = None

    def fingerprint(self) -> int:
        """Another number whenever the filter table has other rules or policies; 0 without one. Some 20 µs."""
        table = _read(self._layout)
        return hash((table.rules, table.drops)) if table else 0

    def keep(self, bridges: Collection[str]) -> Kept:
        """Do for this table what `Firewall.keep_forwarding` asks; a warning where the program fails."""
        table = _read(self._layout)
        if table is None:
            return Kept()
        wanted = frozenset(bridges if table.drops else ())
        if self._kept == (self.fingerprint(), wanted) or not (wanted or CHAIN.encode() in table.rules):
            return Kept()
        try:
            self._change(wanted)
        except Refused as refused:
            return Kept([refused.text])
        return Kept((), [accepted(f"legacy {self._layout.program.partition('-')[0]}")] if wanted else ())

    def _change(self, bridges: frozenset[str]) -> None:
        program = shutil.which(self._layout.program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if program is None:
            raise Refused(
                Code.UNSUPPORTED,
                f"FORWARD of legacy iptables drops our traffic, and {self._layout.program}, which could "
                "let ours pass, is missing: install the iptables package",
            )
        jumps = _output(program, "-S", "FORWARD").splitlines().count(f"-A FORWARD -j {CHAIN}")
        _restore(f"{program}-restore", _script(bridges, jumps))
        self._kept = (self.fingerprint(), bridges)


def accepted(table: str) -> str:
    """What was put right where our traffic had not passed."""
    return f"FORWARD of {table} dropped our traffic, chain {CHAIN} made"


class _Table(NamedTuple):
    rules: bytes
    drops: bool


def _script(bridges: frozenset[str], jumps: int) -> str:
    """What `iptables-restore --noflush` does in one step; naming the chain empties it."""
    lines = ["*filter", f":{CHAIN} - [0:0]", *[f"-D FORWARD -j {CHAIN}"] * jumps]
    if bridges:
        lines += [
            f"-A {CHAIN} {way} {bridge} -j ACCEPT" for bridge in sorted(bridges) for way in ("-i", "-o")
        ]
        lines.append(f"-I FORWARD -j {CHAIN}")
    else:
        lines.append(f"-X {CHAIN}")
    return "\n".join([*lines, "COMMIT", ""])


def _output(program: str, *arguments: str, script: str | None = None) -> str:
    command = [program, "-w", str(_SECONDS), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and only names of bridges that the kernel took
            command, input=script, capture_output=True, text=True, timeout=2 * _SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(Code.UNAVAILABLE, f"{program} could not be run: {error}") from error
    if done.returncode:
        raise Refused(Code.UNAVAILABLE, f"{' '.join(command)} failed: {done.stderr.strip()}")
    return done.stdout


def _restore(program: str, script: str) -> None:
    _output(program, "--noflush", script=script)


def _read(layout: _Layout) -> _Table | None:
    """The filter table; None where there is none, which asking for it would make."""
    try:
        names = Path("/proc/thread-self/net", layout.names).read_text("ascii")
    except OSError:
        return None
    if "filter" not in names.split():
        return None
    try:
        with socket.socket(layout.family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as raw:
            return _parse(layout, raw)
    except OSError:
        return None


def _parse(layout: _Layout, raw: socket.socket) -> _Table:
    info = _GETINFO.unpack(_option(raw, layout.level, _INFO, _GETINFO.pack(b"filter", *[0] * 13)))
    underflow, size = info[7 + _FORWARD_HOOK], info[13]
    request = struct.pack("=32sI4x", b"filter", size) + bytes(size)
    entries = _option(raw, layout.level, _ENTRIES, request)[40:]
    target = underflow + struct.unpack_from("=H", entries, underflow + layout.offsets)[0]
    verdict = struct.unpack_from("=i", entries, target + _VERDICT)[0]
    return _Table(b"".join(_uncounted(layout, entries)), verdict == _DROP)


def _uncounted(layout: _Layout, entries: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(entries):
        length = struct.unpack_from("=H", entries, at + layout.offsets + 2)[0]
        yield entries[at : at + layout.counters]
        yield entries[at + layout.counters + 16 : at + length]
        at += length


def _option(raw: socket.socket, level: int, option: int, request: bytes) -> bytes:
    """The getsockopt with a request in the buffer, which Python's cannot pass."""
    buffer = ctypes.create_string_buffer(request, len(request))
    length = ctypes.c_uint32(len(request))
    if _libc.getsockopt(raw.fileno(), level, option, buffer, ctypes.byref(length)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return buffer.raw
