from pathlib import Path

import pytest

from moorage.kernel.linux import legacy
from moorage.kernel.linux.legacy import LegacyForwarding

PROGRAM = """#!/bin/sh
case "$0" in
    *-restore) cat >> "$0.said"; exit {status};;
    *) printf -- '-P FORWARD DROP\\n-A FORWARD -j MOORAGE\\n';;
esac
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for stand-ins of iptables-legacy, searched alone, beside a table whose policy is drop."""
    table = legacy._Table(b"rules, and a chain MOORAGE", drops=True)
    monkeypatch.setattr(legacy, "_read", lambda layout: table)
    monkeypatch.setattr("shutil.which", lambda name, path: _existing(tmp_path / name))
    return tmp_path


def _existing(path: Path) -> str | None:
    return str(path) if path.exists() else None


def write(directory: Path, status: int = 0) -> None:
    for name in ("iptables-legacy", "iptables-legacy-restore"):
        (directory / name).write_text(PROGRAM.format(status=status))
        (directory / name).chmod(0o755)


def test_the_chain_is_replaced_in_one_step_and_not_again(programs: Path) -> None:
    """An old jump makes room for a new chain and jump in one restore; unchanged, nothing is run."""
    write(programs)
    forwarding = LegacyForwarding("ip")
    assert forwarding.keep(["m1", "m0"]) == (
        (),
        ["FORWARD of legacy iptables dropped our traffic, chain MOORAGE made"],
    )
    assert forwarding.keep(["m0", "m1"]) == ((), ())
    assert (programs / "iptables-legacy-restore.said").read_text().splitlines() == [
        "*filter",
        ":MOORAGE - [0:0]",
        "-D FORWARD -j MOORAGE",
        "-A MOORAGE -i m0 -j ACCEPT",
        "-A MOORAGE -o m0 -j ACCEPT",
        "-A MOORAGE -i m1 -j ACCEPT",
        "-A MOORAGE -o m1 -j ACCEPT",
        "-I FORWARD -j MOORAGE",
        "COMMIT",
    ]


def test_without_bridges_the_chain_goes(programs: Path) -> None:
    """With nothing to let pass, jump and chain are removed."""
    write(programs)
    assert LegacyForwarding("ip").keep([]) == ((), ())
    assert (programs / "iptables-legacy-restore.said").read_text().splitlines() == [
        "*filter",
        ":MOORAGE - [0:0]",
        "-D FORWARD -j MOORAGE",
        "-X MOORAGE",
        "COMMIT",
    ]


def test_a_program_that_is_missing_or_fails_is_named(programs: Path) -> None:
    """Where its program does not help, the sentence names it, and the next time it is tried again."""
    forwarding = LegacyForwarding("ip")
    assert "iptables-legacy, which could let ours pass, is missing" in forwarding.keep(["m0"]).warnings[0]
    write(programs, status=4)
    assert "iptables-legacy-restore -w 10 --noflush failed" in forwarding.keep(["m0"]).warnings[0]
    write(programs)
    assert not forwarding.keep(["m0"]).warnings


def test_a_host_without_the_table_is_left_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no legacy filter table is, none is made and nothing is run."""
    monkeypatch.setattr(legacy, "_read", lambda layout: None)
    assert (LegacyForwarding("ip6").keep(["m0"]), LegacyForwarding("ip6").fingerprint()) == (((), ()), 0)
