"""FORWARD of legacy iptables: read from the kernel, changed by iptables-legacy.

Its tables can be changed only as a whole, under a lock that its own program takes: the one case in which a
program is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Collection, Mapping, Sequence

from moorage.errors import Code, Refused
from moorage.kernel.linux import legacy_table
from moorage.kernel.linux.forward_rules import (
    CHAIN,
    Chain,
    Todo,
    obstacles,
    pairs,
    passing,
    repaired,
    stopped,
    todo,
)
from moorage.kernel.linux.legacy_table import Table
from moorage.kernel.protocol import Forwarded, Kept
from moorage.model.link_names import is_link_name

_SECONDS = 10
_FLAGS = {"iifname": "-i", "oifname": "-o"}


class LegacyForwarding:
    """The FORWARD chain of one family's legacy filter table; absent in most hosts."""

    def __init__(self, family: str) -> None:
        """`family` is `ip` or `ip6`."""
        self._family = legacy_table.FAMILIES[family]
        self._where = f"legacy {self._family.program.partition('-')[0]}"

    def fingerprint(self) -> int:
        """Another number whenever the filter table has other rules or policies; 0 without one. Some 20 µs."""
        return legacy_table.fingerprint(self._family)

    def keep(self, bridges: Collection[Forwarded], indices: Mapping[str, int]) -> Kept:
        """Do for this table what `Firewall.keep_forwarding` asks; a warning where the program fails."""
        table = legacy_table.read(self._family)
        if table is None:
            return Kept()
        chain = Chain(self._where, self._family.name, "FORWARD", drops=False, iptables=True)
        warnings = obstacles(chain, lambda name: table.chains.get(name, ()), bridges, indices)
        concerned = bridges if table.drops else ()
        warnings += stopped(self._where, concerned)
        try:
            return Kept(warnings, self._put(table, passing(concerned)))
        except Refused as refused:
            return Kept([refused.text, *warnings])

    def _put(self, table: Table, wanted: Sequence[str]) -> list[str]:
        forward = table.chains["FORWARD"]
        needed = todo(forward, table.chains.get(CHAIN), wanted)
        if needed is not Todo.NOTHING:
            jumps = sum(rule.leads_to(CHAIN) for rule in forward)
            self._restore(_script(wanted, jumps))
        return repaired(needed, self._where)

    def _restore(self, script: str) -> None:
        program = f"{self._family.program}-restore"
        path = shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        if path is None:
            raise Refused(
                Code.UNSUPPORTED,
                f"FORWARD of {self._where} drops our traffic, and {program}, which could let ours pass, is missing: "
                "install the iptables package",
            )
        _run([path, "-w", str(_SECONDS), "--noflush"], script)


def _script(bridges: Sequence[str], jumps: int) -> str:
    """What `iptables-restore --noflush` does in one step; naming the chain empties it.

    Raises ValueError for a name that would be more than a name to it.
    """
    for bridge in bridges:
        if not is_link_name(bridge):
            raise ValueError(f"iptables cannot say {bridge!r}")
    lines = ["*filter", f":{CHAIN} - [0:0]", *[f"-D FORWARD -j {CHAIN}"] * jumps]
    if bridges:
        lines += [f"-A {CHAIN} {_FLAGS[way]} {bridge} -j ACCEPT" for way, bridge in pairs(bridges)]
        lines.append(f"-A FORWARD -j {CHAIN}")
    else:
        lines.append(f"-X {CHAIN}")
    return "\n".join([*lines, "COMMIT", ""])


def _run(command: Sequence[str], script: str) -> None:
    try:
        done = subprocess.run(  # noqa: S603 - no shell, and only names of bridges that the kernel took
            command, input=script, capture_output=True, text=True, timeout=2 * _SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(Code.UNAVAILABLE, f"{command[0]} could not be run: {error}") from error
    if done.returncode:
        raise Refused(Code.UNAVAILABLE, f"{' '.join(command)} failed: {done.stderr.strip()}")
