from pathlib import Path

import pytest

from moorage.kernel.linux import legacy_table
from moorage.kernel.linux.legacy import LegacyForwarding
from moorage.kernel.linux.legacy_table import Table
from moorage.kernel.protocol import Forwarded, Kept
from moorage.model.packet_filter import Condition, Rule, Verdict

PROGRAM = """#!/bin/sh
cat >> "$0.said"; exit {status}
"""
THEIRS = Rule(1, (Condition(),), Verdict.DROP)
JUMP = Rule(2, (), Verdict.JUMP, "MOORAGE")


def accepts(way: str, bridge: str) -> Rule:
    return Rule(1, (Condition(way, bridge.encode() + b"\0"),), Verdict.ACCEPT)


OURS = [accepts(way, bridge) for bridge in ("m0", "m1") for way in ("iifname", "oifname")]
BRIDGES = [Forwarded("m1"), Forwarded("m0")]


class Host:
    """A filter table whose policy is drop, and a directory for stand-ins of iptables-legacy, searched alone."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.table = Table(drops=True, chains={"FORWARD": [THEIRS]})

    def write(self, status: int = 0) -> None:
        program = self.directory / "iptables-legacy-restore"
        program.write_text(PROGRAM.format(status=status))
        program.chmod(0o755)

    def said(self) -> list[str]:
        said = self.directory / "iptables-legacy-restore.said"
        return said.read_text().splitlines() if said.exists() else []

    def keep(self, *bridges: Forwarded) -> Kept:
        return LegacyForwarding("ip").keep(bridges, {})


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host(tmp_path)
    monkeypatch.setattr(legacy_table, "read", lambda family: made.table)
    monkeypatch.setattr("shutil.which", lambda name, path: _existing(tmp_path / name))
    return made


def _existing(path: Path) -> str | None:
    return str(path) if path.exists() else None


@pytest.mark.parametrize(
    ("forward", "ours"),
    [
        ([JUMP, THEIRS], OURS),
        ([THEIRS, JUMP], OURS[:2]),
        ([THEIRS, JUMP], [*OURS[:3], OURS[0]]),
        ([THEIRS, JUMP], []),
    ],
)
def test_the_chain_is_replaced_in_one_step(host: Host, forward: list[Rule], ours: list[Rule]) -> None:
    """A jump that is not last, or a chain with other rules, makes room for a new one in one restore."""
    host.write()
    host.table = Table(drops=True, chains={"FORWARD": forward, "MOORAGE": ours})
    assert len(host.keep(*BRIDGES).repaired) == 1
    assert host.said() == [
        "*filter",
        ":MOORAGE - [0:0]",
        "-D FORWARD -j MOORAGE",
        "-A MOORAGE -i m0 -j ACCEPT",
        "-A MOORAGE -o m0 -j ACCEPT",
        "-A MOORAGE -i m1 -j ACCEPT",
        "-A MOORAGE -o m1 -j ACCEPT",
        "-A FORWARD -j MOORAGE",
        "COMMIT",
    ]


@pytest.mark.parametrize(
    ("drops", "forward", "bridges"),
    [(True, [THEIRS, JUMP], BRIDGES), (False, [THEIRS], BRIDGES), (True, [], [])],
)
def test_what_is_right_is_left_alone(
    host: Host, drops: bool, forward: list[Rule], bridges: list[Forwarded]
) -> None:
    """Nothing is run where our jump is last, or not needed and not there."""
    host.write()
    host.table = Table(drops, {"FORWARD": forward, **({"MOORAGE": OURS} if forward[1:] else {})})
    assert host.keep(*bridges) == ([], [])
    assert host.said() == []


def test_without_bridges_the_chain_goes(host: Host) -> None:
    """With nothing to let pass, jump and chain are removed."""
    host.write()
    host.table = Table(drops=True, chains={"FORWARD": [THEIRS, JUMP], "MOORAGE": OURS})
    assert host.keep() == ([], [])
    assert host.said() == ["*filter", ":MOORAGE - [0:0]", "-D FORWARD -j MOORAGE", "-X MOORAGE", "COMMIT"]


def test_a_program_that_is_missing_or_fails_is_named(host: Host) -> None:
    """Where its program does not help, the sentence names it, and the next time it is tried again."""
    assert "iptables-legacy-restore, which could let ours pass, is missing" in host.keep(*BRIDGES).warnings[0]
    host.write(status=4)
    assert "iptables-legacy-restore -w 10 --noflush failed" in host.keep(*BRIDGES).warnings[0]
    host.write()
    assert not host.keep(*BRIDGES).warnings


def test_a_host_without_the_table_is_left_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no legacy filter table is, none is made and nothing is run."""
    monkeypatch.setattr(legacy_table, "_ask", lambda family: None)
    forwarding = LegacyForwarding("ip6")
    assert (forwarding.keep([Forwarded("m0", ipv6=True)], {}), forwarding.fingerprint()) == (((), ()), 0)
